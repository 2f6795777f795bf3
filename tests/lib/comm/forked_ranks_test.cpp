#include "tests/lib/comm/comm_values.h"
#include "tests/support/process_ranks.h"

#include <doctest/doctest.h>

using namespace nemo;
using namespace nemo::test;
using namespace std::chrono_literals;

namespace {

constexpr int kNumRanks = 3;

}  // namespace

TEST_CASE("processes compute what threads do") {
  const TempFolder folder;
  auto ranks = fork_ranks(kNumRanks, [&](int rank) {
    FolderRendezvous rendezvous(folder.path());
    run_process_rank(
        rendezvous, rank, kNumRanks, 20s, with_test_rank([](TestRank& r) {
          for (bool in_arena : {true, false}) {
            r.in_arena = in_arena;
            Owned<float> x(r, {100003}), received(r, {100003});
            x.fill([&](int64_t i) { return comm_value<float>(r.rank, i); });
            Work send = r.world.send(x.tensor, (r.rank + 1) % kNumRanks, "ring");
            r.world.receive(received.tensor, (r.rank + 2) % kNumRanks, "ring").wait(r.stream);
            send.wait(r.stream);
            received.expect("receive", [&](int64_t i) {
              return comm_value<float>((r.rank + 2) % kNumRanks, i);
            });
            const auto all = r.world.split(0, "all");
            all->all_reduce(x.tensor, ReduceOp::kSum, "sum").wait(r.stream);
            x.expect("all_reduce",
                     [&](int64_t i) { return reduced_value<float>(kNumRanks, ReduceOp::kSum, i); });
          }
          r.world.barrier("end");
        }));
  });
  for (ForkedChild& rank : ranks) CHECK(rank.wait() == 0);
}

TEST_CASE("a process that sleeps is woken") {
  const TempFolder folder;
  auto ranks = fork_ranks(2, [&](int rank) {
    FolderRendezvous rendezvous(folder.path());
    run_process_rank(rendezvous, rank, 2, 20s, with_test_rank([](TestRank& r) {
                       r.world.barrier("start");
                       const Clock::time_point start = Clock::now();
                       for (int i = 0; i < 100; ++i) {
                         if (r.rank == i % 2) std::this_thread::sleep_for(1ms);
                         r.world.barrier("woken");
                       }
                       // Each would else take the 100 ms after which sleepers look up by
                       // themselves.
                       NEMO_CHECK(seconds_since(start) < 3, "{} s", seconds_since(start));
                     }));
  });
  for (ForkedChild& rank : ranks) CHECK(rank.wait() == 0);
}

namespace {

// Joins, runs fn and leaves the CommError that ends it under "error/<rank>".
void run_until_error(const TempFolder& folder, int rank, std::chrono::nanoseconds timeout,
                     const std::function<void(TestRank&, Rendezvous&)>& fn) {
  FolderRendezvous rendezvous(folder.path());
  try {
    run_process_rank(rendezvous, rank, kNumRanks, timeout,
                     with_test_rank([&](TestRank& r) { fn(r, rendezvous); }));
  } catch (const CommError& e) {
    rendezvous.set(fmt::format("error/{}", rank), e.what());
  }
}

}  // namespace

TEST_CASE("a rank that is killed is missed when its peers' time is up") {
  const TempFolder folder;
  auto ranks = fork_ranks(kNumRanks, [&](int rank) {
    run_until_error(folder, rank, 2s, [](TestRank& r, Rendezvous&) {
      Tensor x(r.arena, DType::kF32, {1 << 20}, MemoryCategory::kGradients, "x");
      std::fill_n(x.data<float>(), x.numel(), 1.0f);
      Work work = r.world.all_reduce(x, ReduceOp::kSum, "posted");
      if (r.rank == 1) raise(SIGKILL);
      work.wait(r.stream);  // its peers finish what it has posted
      NEMO_CHECK(x.data<float>()[x.numel() - 1] == 3, "{}", x.data<float>()[x.numel() - 1]);
      r.world.barrier("next");
    });
  });
  CHECK(ranks[1].wait() == 128 + SIGKILL);
  FolderRendezvous rendezvous(folder.path());
  for (size_t rank : {0, 2}) {
    CHECK(ranks[rank].wait() == 0);
    CHECK(rendezvous.get(fmt::format("error/{}", rank))
              .starts_with("[barrier \"next\"] group world, sequence 1: rank 1 did not arrive "
                           "within 2 s; "));
  }
}

TEST_CASE("peers of a rank that is killed in an operation end when they are told") {
  const TempFolder folder;
  FolderRendezvous rendezvous(folder.path());
  auto ranks = fork_ranks(kNumRanks, [&](int rank) {
    run_until_error(folder, rank, 60s, [&](TestRank& r, Rendezvous& news) {
      const std::jthread watcher([&] { r.world.poison(news.get("news")); });
      Tensor x(r.arena, DType::kF32, {4 << 20}, MemoryCategory::kGradients, "x");
      std::fill_n(x.data<float>(), x.numel(), 0.0f);
      news.set(fmt::format("started/{}", r.rank), "");
      for (;;) r.world.all_reduce(x, ReduceOp::kSum, "sum").wait(r.stream);
    });
  });
  for (int rank = 0; rank < kNumRanks; ++rank) rendezvous.get(fmt::format("started/{}", rank));
  std::this_thread::sleep_for(20ms);
  ranks[1].kill(SIGKILL);
  CHECK(ranks[1].wait() == 128 + SIGKILL);
  const Clock::time_point start = Clock::now();
  rendezvous.set("news", "rank 1 was killed");
  for (size_t rank : {0, 2}) {
    CHECK(ranks[rank].wait() == 0);
    CHECK(rendezvous.get(fmt::format("error/{}", rank)) == "rank 1 was killed");
  }
  CHECK(seconds_since(start) < 10);
}

TEST_CASE("a rank that is stopped in the middle of anything is named") {
  const TempFolder folder;
  FolderRendezvous rendezvous(folder.path());
  auto ranks = fork_ranks(kNumRanks, [&](int rank) {
    run_until_error(folder, rank, 1s, [&](TestRank& r, Rendezvous& news) {
      Tensor x(r.arena, DType::kF32, {1 << 20}, MemoryCategory::kGradients, "x");
      std::fill_n(x.data<float>(), x.numel(), 0.0f);
      news.set(fmt::format("started/{}", r.rank), "");
      for (;;) r.world.all_reduce(x, ReduceOp::kSum, "sum").wait(r.stream);
    });
  });
  for (int rank = 0; rank < kNumRanks; ++rank) rendezvous.get(fmt::format("started/{}", rank));
  std::this_thread::sleep_for(20ms);
  ranks[1].kill(SIGSTOP);
  for (size_t rank : {0, 2}) {
    CHECK(ranks[rank].wait() == 0);
    const std::string error = rendezvous.get(fmt::format("error/{}", rank));
    CHECK(error.find(": rank 1 did not ") != std::string::npos);
    CHECK(error.find(" within 1 s; ") != std::string::npos);
  }
}
