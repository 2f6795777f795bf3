// What all groups of a world share.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "lib/comm/shared/event.h"
#include "lib/comm/shared/poison.h"
#include "lib/comm/shared/segment.h"
#include "lib/device/host.h"

namespace nemo::shared {

// In the segment, as its first block.
struct WorldState {
  PoisonState poison;
  int64_t group;         // where the group of all ranks is
  int64_t memory_bytes;  // the most that reserve_memory gives; processes only
};

// A process's end of it; whoever makes the segment allocates the WorldState.
struct Domain {
  Domain(std::shared_ptr<Segment> segment_, Scope scope_, int process,
         std::chrono::nanoseconds timeout_, int num_ranks)
      : segment(std::move(segment_)),
        scope(scope_),
        world(*segment->at<WorldState>(Segment::kFirst)),
        poison(world.poison, process),
        timeout(timeout_),
        may_spin(num_ranks <= num_available_cores()) {}

  // What addresses in the segment are relative to: nothing where every rank has the same.
  uintptr_t base() const {
    return scope == Scope::kThreads ? 0 : reinterpret_cast<uintptr_t>(segment->at<std::byte>(0));
  }
  // Peers can touch the tensor where it is.
  bool reaches(const Tensor& tensor) const {
    return scope == Scope::kThreads || !tensor || tensor.numel() == 0 ||
           segment->contains(tensor.raw(), tensor.bytes());
  }
  // See Communicator::reserve_memory.
  AddressRange reserve_memory(int64_t bytes) const {
    return scope == Scope::kThreads ? reserve_private(bytes)
                                    : segment->reserve(std::min(bytes, world.memory_bytes));
  }

  std::shared_ptr<Segment> segment;
  Scope scope;
  WorldState& world;
  Poison poison;
  std::chrono::nanoseconds timeout;
  bool may_spin;                   // the ranks do not outnumber the cores
  std::unique_ptr<Arena> staging;  // of copies of what peers do not reach; processes only
};

}  // namespace nemo::shared
