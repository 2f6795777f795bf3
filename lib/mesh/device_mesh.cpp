#include "lib/mesh/device_mesh.h"

#include <fmt/ranges.h>

#include <span>
#include <string_view>

#include "lib/core/error.h"

namespace nemo {
namespace {

struct GroupAxes {
  std::string_view name;
  std::array<Axis, 2> axes;
};

// The groups of two axes, in the order in which DeviceMesh keeps them behind the single axes.
constexpr std::array<GroupAxes, 4> kProducts = {{
    {"dp_cp", {Axis::kDp, Axis::kCp}},
    {"dp_shard_cp", {Axis::kDpShard, Axis::kCp}},
    {"tp_cp", {Axis::kTp, Axis::kCp}},
    {"etp_ep", {Axis::kEtp, Axis::kEp}},
}};

}  // namespace

DeviceMesh::DeviceMesh(Communicator& world, const Grid& grid) : world_(world), grid_(grid) {
  NEMO_CHECK(world.size() == grid.world(), "[mesh] a grid of {} ranks in a world of {}",
             grid.world(), world.size());
  auto group = [&](std::span<const Axis> axes, std::string_view name) {
    return world.subgroup(grid_.group_of(axes, world.rank()), std::string(name));
  };
  const int64_t self = world.rank();
  alone_ = world.subgroup({&self, 1}, "alone");
  for (size_t i = 0; i < kNumAxes; ++i) {
    const Axis axis = static_cast<Axis>(i);
    groups_[i] = group({&axis, 1}, nemo::to_string(axis));
  }
  for (size_t i = 0; i < kProducts.size(); ++i)
    groups_[kNumAxes + i] = group(kProducts[i].axes, kProducts[i].name);
}

std::string DeviceMesh::to_string() const {
  std::string lines;
  auto add = [&](const Communicator& group, std::span<const Axis> axes) {
    lines += fmt::format("{}: {} of {}\n", group.name(), group.rank(),
                         grid_.group_of(axes, world_.rank()));
  };
  for (size_t i = 0; i < kNumAxes; ++i) {
    const Axis axis = static_cast<Axis>(i);
    add(*groups_[i], {&axis, 1});
  }
  for (size_t i = 0; i < kProducts.size(); ++i) add(*groups_[kNumAxes + i], kProducts[i].axes);
  return lines;
}

}  // namespace nemo
