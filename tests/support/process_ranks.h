// Ranks as processes, for tests and benchmarks.
#pragma once

#include <vector>

#include "lib/comm/shared/process_host.h"
#include "tests/support/folder_rendezvous.h"
#include "tests/support/forked_child.h"
#include "tests/support/run_ranks.h"

namespace nemo::test {

using RankFunction = std::function<void(int rank, Communicator& world)>;

// Joins the ranks of this host, runs fn and, where it throws, poisons the world.
inline void run_process_rank(Rendezvous& rendezvous, int rank, int num_ranks,
                             std::chrono::nanoseconds timeout, const RankFunction& fn) {
  ProcessHost host(rendezvous, rank, num_ranks,
                   {.timeout = timeout, .memory_bytes = TestRank::kArenaBytes});
  NEMO_CHECK(std::ssize(host.ranks()) == num_ranks, "{} of {} ranks share memory",
             host.ranks().size(), num_ranks);
  const std::unique_ptr<Communicator> world = host.communicator("world");
  try {
    fn(rank, *world);
  } catch (const std::exception& e) {
    host.poison(fmt::format("rank {} failed: {}", rank, e.what()));
    throw;
  }
}

// As run_thread_ranks, but the ranks share no more than processes do: each joins by itself and has
// mappings of its own of one segment. They are threads all the same, so that sanitizers and
// captured variables work; what only processes do is left to fork_ranks.
inline void run_hosted_ranks(int num_ranks, std::chrono::nanoseconds timeout,
                             const RankFunction& fn) {
  const TempFolder folder;
  FolderRendezvous rendezvous(folder.path());
  RankFailures failures;
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < num_ranks; ++rank)
      threads.emplace_back([&, rank] {
        try {
          run_process_rank(rendezvous, rank, num_ranks, timeout, fn);
        } catch (const std::exception&) {
          failures.record(rank);
        }
      });
  }
  failures.rethrow(num_ranks);
}

// Children that run fn(rank), made while this process has one thread.
inline std::vector<ForkedChild> fork_ranks(int num_ranks, const std::function<void(int)>& fn) {
  std::vector<ForkedChild> ranks;
  for (int rank = 0; rank < num_ranks; ++rank)
    ranks.emplace_back([&] {
      fn(rank);
      return 0;
    });
  return ranks;
}

}  // namespace nemo::test
