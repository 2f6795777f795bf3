// The operations in flight of one group: a ring of slots in a segment, one per sequence number.
//
// A rank posts what it wants done and goes on. Once every member has posted, the operation is ready
// and its chunks are claimed by whoever waits for it: there are no progress threads, and any one
// waiter can finish the whole operation alone. So a wait depends on the peers' posts only, never on
// what they wait for, and waits in any order, on any groups, cannot deadlock.
#pragma once

#include <atomic>
#include <span>
#include <string>
#include <vector>

#include "lib/comm/operation.h"
#include "lib/comm/shared/domain.h"

namespace nemo::shared {

// One member's end of a ring.
class Ring {
 public:
  // What a ring of so many members takes in the segment.
  static int64_t bytes(int num_members);

  // The ring at `offset` of the domain's segment. `world_ranks`: the members, as messages name
  // them; this is `member` among them.
  Ring(Domain& domain, int64_t offset, std::string name, std::vector<int> world_ranks, int member);
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // Where this member describes its operation `sequence` (0, 1, …) before it calls post. Blocks
  // only while operation sequence - kNumSlots is unfinished.
  Posting& prepare(int64_t sequence);
  // For all_to_all_v, after prepare: rows before part i of the input, then of the output.
  std::span<int64_t> rows(int64_t sequence);
  void post(int64_t sequence);

  // Returns when the operation is complete, having helped; CommError as communicator.h says.
  void wait(int64_t sequence);
  // Poisons the world; afterwards no thread of this process touches the operation's memory.
  void abandon(int64_t sequence);

 private:
  static constexpr int64_t kNumSlots = 64;

  // Counts of operations, so that zeros are the start: one more than the last sequence number.
  struct alignas(64) Slot {
    std::atomic<int64_t> ready;     // the last operation here that all members posted
    std::atomic<int64_t> complete;  // the last that was finished
    std::atomic<int> num_arrived;
    std::atomic<int> num_workers;
    std::atomic<int64_t> chunks_left;
  };
  // A member's share of the chunks; anyone may claim the next.
  struct alignas(64) Lane {
    std::atomic<int64_t> next;
    int64_t end;
    std::atomic<int64_t> arrived;  // as in Slot: the last operation here that the member posted
  };
  struct Layout;

  int size() const { return static_cast<int>(world_ranks_.size()); }
  static int64_t index(int64_t sequence) { return sequence % kNumSlots; }
  Slot& slot(int64_t sequence) { return slots_[index(sequence)]; }
  Lane& lane(int64_t sequence, int member) { return lanes_[index(sequence) * size() + member]; }
  Operation operation(int64_t sequence) const;

  void begin(int64_t sequence);
  void work(int64_t sequence);
  int64_t run_chunks(int64_t sequence);
  // Returns when a counter of the slot is above the sequence number.
  void await(const std::atomic<int64_t>& counter, int64_t sequence);
  void sleep_until(const std::atomic<int64_t>& counter, int64_t sequence);
  [[noreturn]] void fail(int64_t sequence);
  void drain(int64_t sequence);
  std::string describe(int64_t sequence) const;
  // Of those that did not arrive, or of all where all have: the ones that do not sleep for others
  // themselves.
  std::vector<int> late_ranks(int64_t sequence);
  std::vector<int> missing_ranks(int64_t sequence);
  std::string timeout_message(int64_t sequence);

  Domain& domain_;
  std::string name_;
  std::vector<int> world_ranks_;
  int member_;
  Event* event_;  // an operation became ready or complete
  Slot* slots_;
  Lane* lanes_;        // [slot][member]
  Posting* postings_;  // [slot][member]
  int64_t* rows_;      // [slot][member][of the input, of the output][size + 1]
};

}  // namespace nemo::shared
