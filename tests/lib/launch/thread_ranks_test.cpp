#include "lib/launch/thread_ranks.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <set>

#include "tests/lib/launch/address_space.h"

using namespace nemo;
using namespace std::chrono_literals;

namespace {

// The message of the E that run_thread_ranks throws when rank `failing` throws `error`, while the
// others wait for it.
template <typename E, typename Error>
std::string message_of(int failing, const Error& error) {
  try {
    run_thread_ranks(4, 60s, [&](int rank, Communicator& world) {
      world.barrier("together");
      if (rank == failing) throw error;
      world.barrier("never");
    });
  } catch (const E& e) {
    return e.what();
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("every rank runs once, on a thread of its own, in one world") {
  std::mutex mutex;
  std::set<std::thread::id> threads = {std::this_thread::get_id()};
  std::vector<int> ranks;
  run_thread_ranks(5, 60s, [&](int rank, Communicator& world) {
    NEMO_CHECK(world.rank() == rank && world.size() == 5 && world.name() == "world", "{}", rank);
    const std::lock_guard lock(mutex);
    threads.insert(std::this_thread::get_id());
    ranks.push_back(rank);
  });
  std::ranges::sort(ranks);
  CHECK(ranks == std::vector<int>{0, 1, 2, 3, 4});
  CHECK(threads.size() == 6);
}

TEST_CASE("the failing rank's own exception arrives, not what it caused elsewhere") {
  for (int failing : {0, 2, 3}) {
    CHECK(message_of<std::runtime_error>(failing, std::runtime_error("out of paper")) ==
          "out of paper");
    CHECK(message_of<InvariantError>(failing, InvariantError("1 is not 2")) == "1 is not 2");
  }
}

TEST_CASE("an echo that arrives before its cause does not hide it") {
  std::atomic<int> num_echoes = 0;
  struct FailsSlowly {  // as tensors do that are in use when an exception passes
    ~FailsSlowly() {
      world.poison("rank 1 is failing");
      while (num_echoes < 3) std::this_thread::yield();
      std::this_thread::sleep_for(20ms);
    }
    Communicator& world;
    std::atomic<int>& num_echoes;
  };
  auto body = [&](int rank, Communicator& world) {
    if (rank == 1) {
      const FailsSlowly tensor{world, num_echoes};
      throw std::runtime_error("the cause");
    }
    try {
      world.barrier("never");
    } catch (const CommError&) {
      ++num_echoes;
      throw;
    }
  };
  CHECK_THROWS_WITH_AS(run_thread_ranks(4, 60s, body), "the cause", std::runtime_error);
}

TEST_CASE("a user's mistake is named with its rank and keeps its exit code") {
  CHECK(message_of<UserError>(2, UserError(ExitCode::kData, "[data.paths] no such file")) ==
        "rank 2: [data.paths] no such file");
  try {
    run_thread_ranks(1, 60s, [](int, Communicator&) { throw_data("[data.paths] empty"); });
  } catch (const UserError& e) {
    CHECK(e.code() == ExitCode::kData);
  }
}

TEST_CASE("the only rank is not named") {
  CHECK_THROWS_WITH_AS(
      run_thread_ranks(1, 60s, [](int, Communicator&) { throw_data("[data.paths] empty"); }),
      "[data.paths] empty", UserError);
}

#if !defined(NEMO_SANITIZED)  // sanitizers need more address space than any limit

TEST_CASE("a rank whose thread cannot start ends the others and is a usage error") {
  rlim_t bytes_of_world = test::address_space_bytes();
  {
    const ThreadWorld world(200, 60s);
    bytes_of_world = test::address_space_bytes() - bytes_of_world;
  }
  std::string error;
  {
    const test::LittleAddressSpace little(bytes_of_world + (rlim_t{100} << 20));
    try {
      run_thread_ranks(200, 60s, [](int, Communicator& world) { world.barrier("all"); });
    } catch (const UserError& e) {
      CHECK(e.code() == ExitCode::kUsage);
      error = e.what();
    }
  }
  CHECK(error.starts_with("[trainer.devices] thread "));
  CHECK(
      error.ends_with(" of 200 cannot start: Resource temporarily unavailable; a higher `ulimit "
                      "-u` or fewer ranks would do"));
}

#endif

TEST_CASE("of two failures the first counts") {
  const auto start = std::chrono::steady_clock::now();
  CHECK_THROWS_WITH_AS(run_thread_ranks(2, 60s,
                                        [&](int rank, Communicator& world) {
                                          if (rank == 1) throw std::runtime_error("first");
                                          try {
                                            world.barrier("until rank 1 fails");
                                          } catch (const CommError&) {
                                            throw std::runtime_error("second");
                                          }
                                        }),
                       "first", std::runtime_error);
  CHECK(std::chrono::steady_clock::now() - start < 30s);  // poison ended rank 0's wait
}

TEST_CASE("communication that fails by itself is reported as it is") {
  CHECK_THROWS_WITH_AS(
      run_thread_ranks(2, 200ms,
                       [](int rank, Communicator& world) {
                         if (rank == 0) world.barrier("alone");
                       }),
      "[barrier \"alone\"] group world, sequence 0: rank 1 did not arrive within 0.2 s; find what "
      "holds them up, or raise trainer.comm_timeout_s",
      CommError);
}
