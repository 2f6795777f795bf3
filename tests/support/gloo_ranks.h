// Ranks that reach each other over Gloo alone, for tests.
#pragma once

#include <unistd.h>

#include <functional>
#include <optional>
#include <thread>

#include "lib/comm/gloo/gloo_world.h"
#include "lib/comm/store/store_server.h"
#include "tests/support/run_ranks.h"

namespace nemo::test {

// As run_thread_ranks, on ranks that are processes but for being threads: each has its own
// connections to the store and to the others.
inline void run_gloo_ranks(int num_ranks, std::chrono::nanoseconds timeout,
                           const std::function<void(int, Communicator&)>& body,
                           const std::string& address = "127.0.0.1") {
  using namespace std::chrono_literals;
  const StoreServer server({address, 0}, num_ranks, 60s, "the test");
  RankFailures failures;
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < num_ranks; ++rank)
    threads.emplace_back([&, rank] {
      Store store({address, server.port()}, {.timeout = 60s});
      store.join({rank, "here", getpid()}, num_ranks);
      std::optional<GlooWorld> gloo;  // until all have left
      std::unique_ptr<Communicator> world;
      try {
        gloo.emplace(store, rank, num_ranks, GlooWorld::Options{.timeout = timeout});
        store.on_failure([&](const Failure& failure) { gloo->poison(failure.reason); });
        world = gloo->communicator("world");
        body(rank, *world);
        store.leave();
      } catch (const std::exception& e) {
        failures.record(rank);
        store.fail({e.what(), ExitCode::kRankLost}, Evidence::kCause);
      }
      store.on_failure([](const Failure&) {});
    });
  threads.clear();
  failures.rethrow(num_ranks);
}

}  // namespace nemo::test
