// What all groups of a world share.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "lib/comm/shared/event.h"
#include "lib/comm/shared/poison.h"
#include "lib/comm/shared/segment.h"
#include "lib/device/host.h"

namespace nemo::shared {

// What a rank sleeps for, so that others who miss it know that it is not to blame.
struct alignas(64) Sleep {
  std::atomic<int64_t> counter;   // where in the segment; 0 = it does not sleep
  std::atomic<int64_t> sequence;  // until the counter is above it
};

// In the segment, as its first block.
struct WorldState {
  PoisonState poison;
  int64_t group;                        // where the group of all ranks is
  int64_t memory_bytes;                 // the most that reserve_memory gives; processes only
  std::array<Sleep, kMaxRanks> sleeps;  // of Domain::ranks
  std::atomic<int64_t> elsewhere;       // what a rank sleeps for that the segment does not see; 0
};

// A process's end of it; whoever makes the segment allocates the WorldState.
struct Domain {
  Domain(std::shared_ptr<Segment> segment_, Scope scope_, int process,
         std::chrono::nanoseconds timeout_, std::vector<int> ranks_)
      : segment(std::move(segment_)),
        scope(scope_),
        world(*segment->at<WorldState>(Segment::kFirst)),
        poison(world.poison, process),
        timeout(timeout_),
        ranks(std::move(ranks_)),
        may_spin(std::ssize(ranks) <= num_available_cores()) {}

  // What addresses in the segment are relative to: nothing where every rank has the same.
  uintptr_t base() const {
    return scope == Scope::kThreads ? 0 : reinterpret_cast<uintptr_t>(segment->at<std::byte>(0));
  }
  // Peers can touch the tensor where it is.
  bool reaches(const Tensor& tensor) const {
    return scope == Scope::kThreads || !tensor || tensor.numel() == 0 ||
           segment->contains(tensor.raw(), tensor.bytes());
  }
  Sleep& sleep_of(int rank) const {
    return world.sleeps[static_cast<size_t>(std::ranges::lower_bound(ranks, rank) - ranks.begin())];
  }
  // Whether the rank sleeps for what has not come yet.
  bool waits(int rank) const {
    const Sleep& sleep = sleep_of(rank);
    const int64_t counter = sleep.counter.load();
    return counter != 0 &&
           segment->at<std::atomic<int64_t>>(counter)->load() <= sleep.sequence.load();
  }
  void set_waits_elsewhere(int rank, bool waits_elsewhere) const {
    Sleep& sleep = sleep_of(rank);
    sleep.sequence = 0;
    sleep.counter = waits_elsewhere ? offset_of(&world.elsewhere) : 0;
  }
  int64_t offset_of(const void* place) const {
    return static_cast<const std::byte*>(place) - segment->at<std::byte>(0);
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
  std::vector<int> ranks;          // of the world, that share the segment; ascending
  bool may_spin;                   // they do not outnumber the cores
  std::unique_ptr<Arena> staging;  // of copies of what peers do not reach; processes only
};

}  // namespace nemo::shared
