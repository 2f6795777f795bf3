// The operations in flight of one group of threads: a ring of slots, one per sequence number.
//
// A rank posts what it wants done and goes on. Once every member has posted, the operation is ready
// and its chunks are claimed by whoever waits for it: there are no progress threads, and any one
// waiter can finish the whole operation alone. So a wait depends on the peers' posts only, never on
// what they wait for, and waits in any order, on any groups, cannot deadlock.
#pragma once

#include <atomic>
#include <chrono>
#include <span>
#include <string>
#include <vector>

#include "lib/comm/shared/event.h"
#include "lib/comm/shared/operation.h"
#include "lib/comm/shared/poison.h"

namespace nemo::shared {

// What all groups of a world share.
struct Domain {
  std::chrono::nanoseconds timeout;
  bool may_spin;  // false when the ranks outnumber the cores
  Poison poison;
};

class Ring {
 public:
  // `world_ranks`: the members, as messages name them.
  Ring(Domain& domain, std::string name, std::vector<int> world_ranks);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  std::span<const int> world_ranks() const { return world_ranks_; }

  // Where member `member` describes its operation `sequence` (0, 1, …) before it calls post. Blocks
  // only while operation sequence - kNumSlots is unfinished.
  Posting& prepare(int member, int64_t sequence);
  void post(int member, int64_t sequence);

  // Returns when the operation is complete, having helped; CommError as communicator.h says.
  void wait(int member, int64_t sequence);
  // Poisons the world; afterwards nobody touches the operation's memory.
  void abandon(int member, int64_t sequence);

 private:
  static constexpr int64_t kNumSlots = 64;

  struct alignas(64) Slot {
    std::atomic<int64_t> ready{-1};     // the last operation here that all members posted
    std::atomic<int64_t> complete{-1};  // the last that was finished
    std::atomic<int> num_arrived{0};
    std::atomic<int> num_workers{0};
    std::atomic<int64_t> chunks_left{0};
  };
  // A member's share of the chunks; anyone may claim the next.
  struct alignas(64) Lane {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
    std::atomic<int64_t> arrived{-1};  // the last operation here that the member posted
  };

  int size() const { return static_cast<int>(world_ranks_.size()); }
  static size_t index(int64_t sequence) { return static_cast<size_t>(sequence % kNumSlots); }
  Slot& slot(int64_t sequence) { return slots_[index(sequence)]; }
  std::span<Posting> postings(int64_t sequence) {
    return std::span(postings_).subspan(index(sequence) * world_ranks_.size(), world_ranks_.size());
  }
  std::span<Lane> lanes(int64_t sequence) {
    return std::span(lanes_).subspan(index(sequence) * world_ranks_.size(), world_ranks_.size());
  }

  void begin(int member, int64_t sequence);
  void work(int member, int64_t sequence);
  int64_t run_chunks(int member, int64_t sequence);
  template <typename Predicate>
  void await(int member, int64_t sequence, Predicate is_done);
  [[noreturn]] void fail(int64_t sequence);
  void drain(int64_t sequence);
  std::string describe(int member, int64_t sequence);
  std::string timeout_message(int member, int64_t sequence);

  Domain& domain_;
  std::string name_;
  std::vector<int> world_ranks_;
  Event event_;  // an operation became ready or complete
  std::vector<Slot> slots_;
  std::vector<Posting> postings_;  // [slot][member]
  std::vector<Lane> lanes_;        // [slot][member]
};

}  // namespace nemo::shared
