#include "lib/mesh/grid.h"

#include <algorithm>

#include "lib/core/error.h"
#include "lib/core/math.h"

namespace nemo {

std::string_view to_string(Axis axis) {
  constexpr std::string_view kNames[] = {"tp",       "cp",  "dp", "pp",  "dp_replicate",
                                         "dp_shard", "etp", "ep", "edp", "edp_shard"};
  return kNames[static_cast<size_t>(axis)];
}

Grid::Grid(const Sizes& sizes) : sizes_(sizes) {
  const Sizes& s = sizes_;
  NEMO_CHECK(s.tp * s.cp * s.dp == s.etp * s.ep * s.edp,
             "[grid] tp {} * cp {} * dp {} differs from etp {} * ep {} * edp {}", s.tp, s.cp, s.dp,
             s.etp, s.ep, s.edp);
  NEMO_CHECK(s.dp % s.dp_replicate == 0, "[grid] dp_replicate {} does not divide dp {}",
             s.dp_replicate, s.dp);
}

int64_t Grid::world() const {
  return sizes_.tp * sizes_.cp * sizes_.dp * sizes_.pp;
}

int64_t Grid::size(Axis axis) const {
  switch (axis) {
    case Axis::kTp:
      return sizes_.tp;
    case Axis::kCp:
      return sizes_.cp;
    case Axis::kDp:
      return sizes_.dp;
    case Axis::kPp:
      return sizes_.pp;
    case Axis::kDpReplicate:
      return sizes_.dp_replicate;
    case Axis::kDpShard:
      return sizes_.dp / sizes_.dp_replicate;
    case Axis::kEtp:
      return sizes_.etp;
    case Axis::kEp:
      return sizes_.ep;
    case Axis::kEdp:
      return sizes_.edp;
    case Axis::kEdpShard:
      return sizes_.edp / sizes_.dp_replicate;
  }
  return 1;
}

// The step between neighbours along the axis.
int64_t Grid::stride(Axis axis) const {
  switch (axis) {
    case Axis::kTp:
    case Axis::kEtp:
      return 1;
    case Axis::kCp:
      return sizes_.tp;
    case Axis::kDp:
    case Axis::kDpShard:
      return sizes_.tp * sizes_.cp;
    case Axis::kDpReplicate:
      return sizes_.tp * sizes_.cp * size(Axis::kDpShard);
    case Axis::kPp:
      return sizes_.tp * sizes_.cp * sizes_.dp;
    case Axis::kEp:
      return sizes_.etp;
    case Axis::kEdp:
    case Axis::kEdpShard:
      return sizes_.etp * sizes_.ep;
  }
  return 1;
}

int64_t Grid::coordinate(Axis axis, int64_t rank) const {
  NEMO_CHECK(rank >= 0 && rank < world(), "[grid] rank {} of a world of {}", rank, world());
  return rank / stride(axis) % size(axis);
}

std::vector<int64_t> Grid::group_of(std::span<const Axis> axes, int64_t rank) const {
  int64_t first = rank;
  for (const Axis axis : axes) first -= coordinate(axis, rank) * stride(axis);
  std::vector<int64_t> ranks = {first};
  for (const Axis axis : axes) {
    const size_t count = ranks.size();
    for (int64_t step = 1; step < size(axis); ++step)
      for (size_t i = 0; i < count; ++i) ranks.push_back(ranks[i] + step * stride(axis));
  }
  std::ranges::sort(ranks);
  return ranks;
}

std::vector<std::vector<int64_t>> Grid::groups(std::span<const Axis> axes) const {
  std::vector<std::vector<int64_t>> groups;
  for (int64_t rank = 0; rank < world(); ++rank) {
    const bool lowest =
        std::ranges::all_of(axes, [&](Axis axis) { return coordinate(axis, rank) == 0; });
    if (lowest) groups.push_back(group_of(axes, rank));
  }
  return groups;
}

}  // namespace nemo
