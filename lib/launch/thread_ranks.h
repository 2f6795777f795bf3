// Ranks as threads of this process.
#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "lib/comm/shared/thread_world.h"

namespace nemo {

// What the ranks threw, in order of time.
class RankFailures {
 public:
  // For a catch block: records the exception in flight.
  void record(int rank) {
    const std::lock_guard lock(mutex_);
    failures_.push_back({rank, std::current_exception()});
  }

  // Throws the first failure, after all ranks have ended. A CommError is as a rule the echo of
  // another rank's failure and gives way to an error of another kind. A UserError that is one of
  // several ranks' own is named with the rank.
  void rethrow(int num_ranks) const {
    for (const auto& [rank, error] : failures_) {
      try {
        std::rethrow_exception(error);
      } catch (const CommError&) {
      } catch (const UserError& e) {
        if (num_ranks == 1) throw;
        throw UserError(e.code(), fmt::format("rank {}: {}", rank, e.what()));
      }
    }
    if (!failures_.empty()) std::rethrow_exception(failures_.front().error);
  }

 private:
  struct Failure {
    int rank;
    std::exception_ptr error;
  };

  std::mutex mutex_;
  std::vector<Failure> failures_;
};

// Runs fn(rank, world) on num_ranks threads of their own and returns when all have ended. A rank
// that throws poisons the world, so that the others end too; the first failure is thrown again
// here. A usage error where a thread cannot start. `timeout`: of every wait in the world. Inline,
// so that the tests of all rooms can use it.
inline void run_thread_ranks(int num_ranks, std::chrono::nanoseconds timeout,
                             const std::function<void(int, Communicator&)>& fn) {
  ThreadWorld world(num_ranks, timeout);
  RankFailures failures;
  auto run = [&](int rank) {
    try {
      const std::unique_ptr<Communicator> communicator = world.communicator(rank);
      fn(rank, *communicator);
    } catch (const std::exception& e) {
      failures.record(rank);
      world.poison(fmt::format("rank {} failed: {}", rank, e.what()));
    }
  };
  std::string not_started;
  {
    std::vector<std::jthread> threads;
    try {
      for (int rank = 0; rank < num_ranks; ++rank) threads.emplace_back(run, rank);
    } catch (const std::system_error& e) {
      not_started = fmt::format(
          "[trainer.devices] thread {} of {} cannot start: {}; a higher `ulimit -u` or fewer ranks "
          "would do",
          threads.size() + 1, num_ranks, e.code().message());
      world.poison(not_started);
    }
  }
  if (!not_started.empty()) throw_usage("{}", not_started);
  failures.rethrow(num_ranks);
}

}  // namespace nemo
