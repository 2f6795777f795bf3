#include "lib/comm/gloo/gloo_world.h"

#include <unistd.h>

#include <optional>

#include "lib/comm/store/store_server.h"
#include "tests/lib/comm/communicator_body.h"
#include "tests/support/folder_rendezvous.h"
#include "tests/support/forked_child.h"
#include "tests/support/gloo_ranks.h"

using namespace nemo;
using namespace nemo::test;

namespace {

struct Gloo {
  static constexpr size_t kNumRepeats = 25;
  static constexpr int64_t kManyElements = 4201;
  static void run(int num_ranks, std::chrono::milliseconds timeout,
                  const std::function<void(TestRank&)>& fn) {
    run_gloo_ranks(num_ranks, timeout, [&](int rank, Communicator& world) {
      TestRank test_rank(rank, world);
      fn(test_rank);
    });
  }
};

}  // namespace

TEST_CASE_TEMPLATE_INVOKE(all_reduce_body, Gloo);
TEST_CASE_TEMPLATE_INVOKE(nan_body, Gloo);
TEST_CASE_TEMPLATE_INVOKE(all_gather_body, Gloo);
TEST_CASE_TEMPLATE_INVOKE(reduce_scatter_body, Gloo);
TEST_CASE_TEMPLATE_INVOKE(all_to_all_body, Gloo);
TEST_CASE_TEMPLATE_INVOKE(all_to_all_v_body, Gloo);
TEST_CASE_TEMPLATE_INVOKE(broadcast_body, Gloo);
TEST_CASE_TEMPLATE_INVOKE(ring_body, Gloo);
TEST_CASE_TEMPLATE_INVOKE(in_flight_body, Gloo);
TEST_CASE_TEMPLATE_INVOKE(keeps_tensors_body, Gloo);
TEST_CASE_TEMPLATE_INVOKE(split_body, Gloo);
TEST_CASE_TEMPLATE_INVOKE(interleaved_body, Gloo);
TEST_CASE_TEMPLATE_INVOKE(barrier_body, Gloo);
TEST_CASE_TEMPLATE_INVOKE(timeout_body, Gloo);
TEST_CASE_TEMPLATE_INVOKE(poison_body, Gloo);

namespace {

// Every rank's results of reductions, one after the other.
using Results = std::vector<std::vector<std::byte>>;

template <typename Backend, typename T>
Results reduced(int num_ranks, int64_t count) {
  Results results(static_cast<size_t>(num_ranks));
  Backend::run(num_ranks, 60s, [&](TestRank& r) {
    auto keep = [&](const Owned<T>& x) {
      const auto bytes = std::as_bytes(x.values);
      auto& mine = results[static_cast<size_t>(r.rank)];
      mine.insert(mine.end(), bytes.begin(), bytes.end());
    };
    Owned<T> x(r, {num_ranks, count}), parts(r, {num_ranks, count}), part(r, {count});
    x.fill([&](int64_t i) { return comm_value<T>(r.rank, i); });
    std::ranges::copy(x.values, parts.values.begin());
    r.world.all_reduce(x.tensor, ReduceOp::kSum, "sum").wait(r.stream);
    r.world.reduce_scatter(parts.tensor, part.tensor, ReduceOp::kSum, "part").wait(r.stream);
    keep(x);
    keep(part);
  });
  return results;
}

struct Shared {
  static void run(int num_ranks, std::chrono::milliseconds timeout,
                  const std::function<void(TestRank&)>& fn) {
    run_ranks(num_ranks, fn, timeout);
  }
};

}  // namespace

TEST_CASE("messages reduce to the bits of shared memory") {
  for (int64_t count : {1001, 10007}) {  // with the call, and by themselves
    CAPTURE(count);
    CHECK(reduced<Gloo, float>(3, count) == reduced<Shared, float>(3, count));
    CHECK(reduced<Gloo, BFloat16>(3, count) == reduced<Shared, BFloat16>(3, count));
    CHECK(reduced<Gloo, Float16>(3, count) == reduced<Shared, Float16>(3, count));
  }
  CHECK(reduced<Gloo, float>(2, 530003) == reduced<Shared, float>(2, 530003));  // in two rounds
}

TEST_CASE("messages go over IPv6 too, where the store is reached so") {
  std::array<int32_t, 2> sums{};
  const auto body = [&](int rank, Communicator& world) {
    TestRank r(rank, world);
    int32_t& sum = sums[static_cast<size_t>(rank)] = 1 << rank;
    world.all_reduce(Tensor(&sum, DType::kI32, {1}), ReduceOp::kSum, "sum").wait(r.stream);
  };
  if (read_file("/proc/net/if_inet6").empty()) return;  // a machine without it
  run_gloo_ranks(2, 60s, body, "::1");
  CHECK(sums == std::array<int32_t, 2>{3, 3});
}

TEST_CASE("messages: ranks that call different operations all learn who called what") {
  std::array<std::string, 3> errors;
  auto body = [&](TestRank& r) {
    Owned<float> x(r, {r.rank == 1 ? 80000 : 9});  // one large, one small
    errors[static_cast<size_t>(r.rank)] =
        comm_error([&] { r.world.all_reduce(x.tensor, ReduceOp::kSum, "grads").wait(r.stream); });
    r.world.barrier("end");
  };
  CHECK_THROWS_AS(Gloo::run(3, 60s, body), CommError);
  for (const std::string& error : errors)
    CHECK(error ==
          "[all_reduce \"grads\"] group world, sequence 0: rank 0 called all_reduce \"grads\" of "
          "9 fp32, rank 1 called all_reduce \"grads\" of 80000 fp32; every rank must call the same "
          "operations in the same order");
}

TEST_CASE("messages: rows sent must be rows expected") {
  auto body = [](TestRank& r) {
    const std::vector<int64_t> sends = {1, 2}, receives = {1, r.rank == 1 ? 2 : 1};
    Owned<float> input(r, {3, 4}), output(r, {receives[0] + receives[1], 4});
    r.world.all_to_all_v(input.tensor, sends, output.tensor, receives, "tokens").wait(r.stream);
  };
  CHECK(comm_error([&] { Gloo::run(2, 60s, body); })
            .starts_with("[all_to_all_v \"tokens\"] group world, sequence 0: rank 0 sends 2 rows "
                         "to rank 1, which expects 1; "));
}

TEST_CASE("messages: a send that is longer than its receive is refused on both sides") {
  for (bool longer : {false, true}) {
    std::array<std::string, 2> errors;
    auto body = [&](TestRank& r) {
      Owned<float> x(r, {longer == (r.rank == 0) ? 60000 : 50000});
      errors[static_cast<size_t>(r.rank)] = comm_error([&] {
        (r.rank ? r.world.receive(x.tensor, 0, "activations")
                : r.world.send(x.tensor, 1, "activations"))
            .wait(r.stream);
      });
      r.world.barrier("end");
    };
    CHECK_THROWS_AS(Gloo::run(2, 60s, body), CommError);
    for (const std::string& error : errors)
      CHECK(error.find(longer ? "rank 0 called send \"activations\" of 60000 fp32, rank 1 called "
                                "receive \"activations\" of 50000 fp32"
                              : "rank 0 called send \"activations\" of 50000 fp32, rank 1 called "
                                "receive \"activations\" of 60000 fp32") != std::string::npos);
  }
}

TEST_CASE("messages: sends and receives do not queue behind each other or collectives") {
  Gloo::run(2, 60s, [](TestRank& r) {
    Owned<float> early(r, {50000}), late(r, {50000}), x(r, {3});
    if (r.rank == 0) {
      Work first = r.world.receive(early.tensor, 1, "sent last");
      r.world.all_reduce(x.tensor, ReduceOp::kSum, "between").wait(r.stream);
      late.fill([](int64_t i) { return static_cast<float>(i); });
      r.world.send(late.tensor, 1, "sent first").wait(r.stream);
      first.wait(r.stream);
      early.expect("early", [](int64_t i) { return static_cast<float>(-i); });
    } else {
      r.world.all_reduce(x.tensor, ReduceOp::kSum, "between").wait(r.stream);
      r.world.receive(late.tensor, 0, "sent first").wait(r.stream);
      late.expect("late", [](int64_t i) { return static_cast<float>(i); });
      early.fill([](int64_t i) { return static_cast<float>(-i); });
      r.world.send(early.tensor, 0, "sent last").wait(r.stream);
    }
  });
}

TEST_CASE("messages: who does not send is named, by group and place") {
  std::string error;
  std::atomic<bool> is_over = false;
  auto body = [&](TestRank& r) {
    const auto group = r.world.split(r.rank / 2, "pp");
    Owned<float> x(r, {3});
    if (r.rank == 3) {
      error = comm_error([&] { group->receive(x.tensor, 0, "activations").wait(r.stream); });
      is_over = true;
    }
    while (!is_over) std::this_thread::sleep_for(1ms);
    r.world.barrier("end");
  };
  CHECK_THROWS_AS(Gloo::run(4, 300ms, body), CommError);
  CHECK(error.starts_with(
      "[receive \"activations\"] group pp, sequence 0: rank 2 did not arrive within 0.3 s; "));
}

TEST_CASE("messages: a rank that fails with work in flight ends the others with its error") {
  auto body = [](TestRank& r) {
    Tensor x(r.arena, DType::kF32, {3 << 20}, MemoryCategory::kGradients, "x");
    std::fill_n(x.data<float>(), x.numel(), 1.0f);
    Work work = r.world.all_reduce(x, ReduceOp::kSum, "grads");
    if (r.rank == 2) {
      std::this_thread::sleep_for(1ms);
      throw std::runtime_error("the data ended");
    }
    work.wait(r.stream);
    r.world.barrier("end");
  };
  for (int repeat = 0; repeat < 5; ++repeat)
    CHECK_THROWS_WITH_AS(Gloo::run(3, 60s, body), "the data ended", std::runtime_error);
}

TEST_CASE("messages: a process that is killed is named and ends the others at once") {
  const TempFolder folder;
  FolderRendezvous rendezvous(folder.path());
  std::vector<ForkedChild> ranks;
  for (int rank = 0; rank < 3; ++rank)
    ranks.emplace_back([&, rank] {
      FolderRendezvous news(folder.path());
      Store store({"127.0.0.1", std::stoi(news.get("port"))}, {.timeout = 60s});
      store.join({rank, "here", getpid()}, 3);
      GlooWorld gloo(store, rank, 3, {.timeout = 60s});
      store.on_failure([&](const Failure& failure) { gloo.poison(failure.reason); });
      const auto world = gloo.communicator("world");
      std::vector<float> values(1 << 20);
      const Tensor x(values.data(), DType::kF32, {std::ssize(values)});
      Arena arena(reserve_private(1 << 20));
      Stream stream(arena, 1, detect_cpu_isa());
      const std::string error = comm_error([&] {
        for (int step = 0;; ++step) {
          world->all_reduce(x, ReduceOp::kSum, "sum").wait(stream);
          if (step == 2) news.set(fmt::format("started/{}", rank), "");
        }
      });
      news.set(fmt::format("error/{}", rank), error);
      return 0;
    });
  const StoreServer server({"127.0.0.1", 0}, 3, 60s, "the test");
  rendezvous.set("port", std::to_string(server.port()));
  for (int rank = 0; rank < 3; ++rank) rendezvous.get(fmt::format("started/{}", rank));
  const pid_t victim = ranks[1].pid();
  const Clock::time_point start = Clock::now();
  ranks[1].kill(SIGKILL);
  CHECK(ranks[1].wait() == 128 + SIGKILL);
  for (size_t rank : {0, 2}) {
    CHECK(ranks[rank].wait() == 0);
    CHECK(rendezvous.get(fmt::format("error/{}", rank)) ==
          fmt::format("rank 1 (pid {}, host here): died; its connection to the store closed",
                      victim));
  }
  CHECK(seconds_since(start) < 5);
}
