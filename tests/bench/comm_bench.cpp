// Time of a blocking fp32 all_reduce between ranks of one host, as rank 0 sees it.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "lib/comm/gloo/gloo_world.h"
#include "lib/comm/store/store_server.h"
#include "lib/device/host.h"
#include "tests/bench/table.h"
#include "tests/support/process_ranks.h"

using namespace nemo;
using bench::Timing;

namespace {

constexpr int kNumBatches = 21;

template <typename Call>
Timing time_calls(Communicator& world, int calls_per_batch, Call&& call) {
  std::vector<double> seconds;
  for (int batch = 0; batch < kNumBatches; ++batch) {
    world.barrier("batch");
    const auto start = Clock::now();
    for (int i = 0; i < calls_per_batch; ++i) call();
    seconds.push_back(seconds_since(start) / calls_per_batch);
  }
  return bench::timing_of(std::move(seconds));
}

// Runs fn on ranks that are threads, or processes that share memory or talk by messages.
using Run = void (*)(int num_ranks, const std::function<void(test::TestRank&)>& fn);

void run_threads(int num_ranks, const std::function<void(test::TestRank&)>& fn) {
  test::run_ranks(num_ranks, fn);
}

void run_processes(int num_ranks, const std::function<void(test::TestRank&)>& fn) {
  const test::TempFolder folder;
  auto ranks = test::fork_ranks(num_ranks, [&](int rank) {
    test::FolderRendezvous rendezvous(folder.path());
    test::run_process_rank(rendezvous, rank, num_ranks, std::chrono::seconds(60),
                           test::with_test_rank(fn));
    std::fflush(stdout);
  });
  for (test::ForkedChild& rank : ranks)
    NEMO_CHECK(rank.wait() == 0, "a rank of {} failed", num_ranks);
}

void run_gloo(int num_ranks, const std::function<void(test::TestRank&)>& fn) {
  const test::TempFolder folder;
  constexpr std::chrono::seconds kTimeout{60};
  auto ranks = test::fork_ranks(num_ranks, [&](int rank) {
    test::FolderRendezvous rendezvous(folder.path());
    std::unique_ptr<StoreServer> server;
    if (rank == 0) {
      server = std::make_unique<StoreServer>(StoreAddress{"127.0.0.1", 0}, num_ranks, kTimeout,
                                             "the benchmark");
      rendezvous.set("port", std::to_string(server->port()));
    }
    Store store({"127.0.0.1", std::stoi(rendezvous.get("port"))}, {.timeout = kTimeout});
    store.join({rank, "here", getpid()}, num_ranks);
    GlooWorld gloo(store, rank, num_ranks, {.timeout = kTimeout});
    test::with_test_rank(fn)(rank, *gloo.communicator("world"));
    store.leave();
    std::fflush(stdout);
  });
  for (test::ForkedChild& rank : ranks)
    NEMO_CHECK(rank.wait() == 0, "a rank of {} failed", num_ranks);
}

void bench_all_reduce(Run run, int num_ranks, int64_t bytes) {
  run(num_ranks, [&](test::TestRank& rank) {
    Tensor x(rank.arena, DType::kF32, {bytes / 4}, MemoryCategory::kCommunication, "x");
    std::fill_n(x.data<float>(), x.numel(), 0.0f);
    const int64_t most = run == run_gloo ? 20 : 200;
    const int calls = static_cast<int>(std::clamp<int64_t>((8 << 20) / bytes, 2, most));
    const Timing timing = time_calls(rank.world, calls, [&] {
      rank.world.all_reduce(x, ReduceOp::kSum, "x").wait(rank.stream);
    });
    if (rank.rank == 0)
      fmt::print("all_reduce fp32  {} ranks  {:>6} KB  {:>8.1f} us  {:>8.1f} us  {:>7.2f} GB/s\n",
                 num_ranks, bytes >> 10, timing.median * 1e6, timing.best * 1e6,
                 static_cast<double>(bytes) / timing.best * 1e-9);
  });
}

void bench_barrier(Run run, int num_ranks) {
  const int num_calls = run == run_gloo && num_ranks > 1 ? 50 : 1000;
  run(num_ranks, [&](test::TestRank& rank) {
    const Timing timing = time_calls(rank.world, num_calls, [&] { rank.world.barrier("b"); });
    if (rank.rank == 0)
      fmt::print("barrier          {} ranks             {:>8.1f} us  {:>8.1f} us\n", num_ranks,
                 timing.median * 1e6, timing.best * 1e6);
  });
}

void bench_all(const char* kind, Run run) {
  fmt::print("{}\n", kind);
  std::fflush(stdout);  // before processes copy it
  for (int num_ranks : {1, 2, 4}) {
    bench_barrier(run, num_ranks);
    for (int64_t bytes : {4ll << 10, 64ll << 10, 1ll << 20, 16ll << 20})
      bench_all_reduce(run, num_ranks, bytes);
  }
}

}  // namespace

int main() {
  fmt::print("{} cores; median and best\n", num_available_cores());
  bench_all("ranks as threads", run_threads);
  bench_all("ranks as processes", run_processes);
  bench_all("ranks as processes, by messages over loopback", run_gloo);
}
