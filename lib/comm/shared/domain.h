// What all groups of a world share.
#pragma once

#include <chrono>
#include <memory>
#include <utility>

#include "lib/comm/shared/event.h"
#include "lib/comm/shared/poison.h"
#include "lib/comm/shared/segment.h"

namespace nemo::shared {

// In the segment, as its first block.
struct WorldState {
  PoisonState poison;
  int64_t group;  // where the group of all ranks is
};

// A process's end of it; whoever makes the segment allocates the WorldState.
struct Domain {
  Domain(std::shared_ptr<Segment> segment_, Scope scope_, int process,
         std::chrono::nanoseconds timeout_, bool may_spin_)
      : segment(std::move(segment_)),
        scope(scope_),
        world(*segment->at<WorldState>(Segment::kFirst)),
        poison(world.poison, process),
        timeout(timeout_),
        may_spin(may_spin_) {}

  // What addresses in the segment are relative to: nothing where every rank has the same.
  uintptr_t base() const {
    return scope == Scope::kThreads ? 0 : reinterpret_cast<uintptr_t>(segment->at<std::byte>(0));
  }

  std::shared_ptr<Segment> segment;
  Scope scope;
  WorldState& world;
  Poison poison;
  std::chrono::nanoseconds timeout;
  bool may_spin;  // false when the ranks outnumber the cores
};

}  // namespace nemo::shared
