// Ranks for tests: threads that each have a communicator, an arena and a stream.
//
// fn runs on num_ranks threads at once; what one of them throws is thrown again on the main thread.
// No doctest macro inside fn: use NEMO_CHECK, or collect and check afterwards.
#pragma once

#include <chrono>
#include <functional>

#include "lib/device/stream.h"
#include "lib/launch/thread_ranks.h"

namespace nemo::test {

struct TestRank {
  static constexpr int64_t kArenaBytes = int64_t{1} << 30;

  TestRank(int rank_, Communicator& world_) : rank(rank_), world(world_) {}

  int rank;
  Communicator& world;
  Arena arena{world.reserve_memory(kArenaBytes)};
  Stream stream{arena, 1, detect_cpu_isa()};
  // Where tests/lib/comm's values lie: in the arena or elsewhere, or the next always elsewhere than
  // the last.
  bool in_arena = false;
  bool alternate = false;
};

// fn of a TestRank as a function of its rank and world.
inline auto with_test_rank(std::function<void(TestRank&)> fn) {
  return [fn = std::move(fn)](int rank, Communicator& world) {
    TestRank test_rank(rank, world);
    fn(test_rank);
  };
}

inline void run_ranks(int num_ranks, const std::function<void(TestRank&)>& fn,
                      std::chrono::nanoseconds timeout = std::chrono::seconds(60)) {
  run_thread_ranks(num_ranks, timeout, with_test_rank(fn));
}

}  // namespace nemo::test
