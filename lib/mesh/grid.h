// Rank <-> coordinate arithmetic of the two grids over one world. Pure functions of the sizes.
//
//   dense grid   tp, cp, dp, pp:    rank = tp_r + tp*(cp_r + cp*(dp_r + dp*pp_r))
//   expert grid  etp, ep, edp, pp:  rank = etp_r + etp*(ep_r + ep*(edp_r + edp*pp_r))
//
// Both cover the same ranks, fastest-varying axis first. dp is dp_replicate (outer) times dp_shard
// (inner). Example, world 16 with tp2 cp2 pp2 ep2 (dp2 etp2 edp2):
//   tp [0,1][2,3]…  cp [0,2][1,3][4,6]…  dp [0,4][1,5][2,6]…  pp [0,8][1,9]…  edp [0,4][1,5]…
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "lib/recipe/sizes.h"

namespace nemo {

// kDpReplicate and kDpShard are parts of kDp; the last four belong to the expert grid, where
// kEdpShard is the part of kEdp inside a replica.
enum class Axis : uint8_t {
  kTp,
  kCp,
  kDp,
  kPp,
  kDpReplicate,
  kDpShard,
  kEtp,
  kEp,
  kEdp,
  kEdpShard
};

// tp, cp, dp, pp, dp_replicate, dp_shard, etp, ep, edp, edp_shard.
std::string_view to_string(Axis axis);

class Grid {
 public:
  // Of the axes' sizes alone: tp*cp*dp*pp must equal etp*ep*edp*pp, and dp_replicate divide dp.
  explicit Grid(const Sizes& sizes);

  int64_t world() const;
  int64_t size(Axis axis) const;
  // The rank's coordinate along the axis.
  int64_t coordinate(Axis axis, int64_t rank) const;

  // The ranks that differ from `rank` only along the given axes of one grid, in ascending order.
  // The index of a rank in the vector is its rank in that group.
  std::vector<int64_t> group_of(std::span<const Axis> axes, int64_t rank) const;
  // Every group of the axes, ordered by lowest rank; together they hold each rank once.
  std::vector<std::vector<int64_t>> groups(std::span<const Axis> axes) const;

 private:
  int64_t stride(Axis axis) const;

  Sizes sizes_;
};

}  // namespace nemo
