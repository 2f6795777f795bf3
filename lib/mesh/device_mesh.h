// One rank's view of the mesh: a communicator for every group that a parallel scheme talks in.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "lib/comm/communicator.h"
#include "lib/mesh/grid.h"

namespace nemo {

class DeviceMesh {
 public:
  // Collective over the world, which must have the grid's size and outlive the mesh.
  DeviceMesh(Communicator& world, const Grid& grid);

  const Grid& grid() const { return grid_; }
  int64_t coordinate(Axis axis) const { return grid_.coordinate(axis, world_.rank()); }

  Communicator& world() const { return world_; }
  // This rank by itself.
  Communicator& alone() const { return *alone_; }
  // The ranks that differ from this one along the axis only, named as the axis, in order of their
  // coordinates: the communicator's rank is coordinate(axis).
  Communicator& operator[](Axis axis) const { return *groups_[static_cast<size_t>(axis)]; }
  // The same along two axes, in order of world ranks.
  Communicator& dp_cp() const { return *groups_[kDpCp]; }             // reduces dense gradients
  Communicator& dp_shard_cp() const { return *groups_[kDpShardCp]; }  // shards dense weights
  Communicator& tp_cp() const { return *groups_[kTpCp]; }             // hold one micro batch
  Communicator& etp_ep() const { return *groups_[kEtpEp]; }           // hold every expert once

  // A line for every group this rank is in, by world ranks: "dp: 1 of [0, 4]".
  std::string to_string() const;

 private:
  static constexpr size_t kNumAxes = 10;
  static constexpr size_t kDpCp = kNumAxes;
  static constexpr size_t kDpShardCp = kNumAxes + 1;
  static constexpr size_t kTpCp = kNumAxes + 2;
  static constexpr size_t kEtpEp = kNumAxes + 3;
  static constexpr size_t kNumGroups = kNumAxes + 4;

  Communicator& world_;
  Grid grid_;
  std::unique_ptr<Communicator> alone_;
  std::array<std::unique_ptr<Communicator>, kNumGroups> groups_;
};

}  // namespace nemo
