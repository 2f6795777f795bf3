#include "lib/comm/shared/thread_world.h"
#include "tests/lib/comm/communicator_body.h"

using namespace nemo;
using namespace nemo::test;

namespace {

struct Threads {
  static constexpr size_t kNumRepeats = 100;
  static constexpr int64_t kManyElements = 20011;
  static void run(int num_ranks, std::chrono::milliseconds timeout,
                  const std::function<void(TestRank&)>& fn) {
    run_ranks(num_ranks, fn, timeout);
  }
};

}  // namespace

TEST_CASE_TEMPLATE_INVOKE(all_reduce_body, Threads);
TEST_CASE_TEMPLATE_INVOKE(nan_body, Threads);
TEST_CASE_TEMPLATE_INVOKE(all_gather_body, Threads);
TEST_CASE_TEMPLATE_INVOKE(reduce_scatter_body, Threads);
TEST_CASE_TEMPLATE_INVOKE(all_to_all_body, Threads);
TEST_CASE_TEMPLATE_INVOKE(all_to_all_v_body, Threads);
TEST_CASE_TEMPLATE_INVOKE(broadcast_body, Threads);
TEST_CASE_TEMPLATE_INVOKE(ring_body, Threads);
TEST_CASE_TEMPLATE_INVOKE(in_flight_body, Threads);
TEST_CASE_TEMPLATE_INVOKE(keeps_tensors_body, Threads);
TEST_CASE_TEMPLATE_INVOKE(split_body, Threads);
TEST_CASE_TEMPLATE_INVOKE(interleaved_body, Threads);
TEST_CASE_TEMPLATE_INVOKE(barrier_body, Threads);
TEST_CASE_TEMPLATE_INVOKE(timeout_body, Threads);
TEST_CASE_TEMPLATE_INVOKE(chain_body, Threads);
TEST_CASE_TEMPLATE_INVOKE(circle_body, Threads);
TEST_CASE_TEMPLATE_INVOKE(poison_body, Threads);

TEST_CASE("ranks that call different operations all learn who called what") {
  struct Call {
    int64_t count;
    DType dtype;
    const char* label;
    const char* described;
  };
  const Call other_calls[] = {
      {8, DType::kF32, "grads", "rank 1 called all_reduce \"grads\" of 8 fp32"},
      {9, DType::kI32, "grads", "rank 1 called all_reduce \"grads\" of 9 int32"},
      {9, DType::kF32, "norm", "rank 1 called all_reduce \"norm\" of 9 fp32"},
  };
  for (const Call& other : other_calls) {
    std::array<std::string, 3> errors;
    CHECK_THROWS_AS(
        run_ranks(3,
                  [&](TestRank& r) {
                    const Call call = r.rank == 1 ? other : Call{9, DType::kF32, "grads", ""};
                    Tensor x(r.arena, call.dtype, {call.count}, MemoryCategory::kGradients, "x");
                    errors[static_cast<size_t>(r.rank)] = comm_error(
                        [&] { r.world.all_reduce(x, ReduceOp::kSum, call.label).wait(r.stream); });
                    r.world.barrier("end");
                  }),
        CommError);
    for (const std::string& error : errors) {
      CHECK(error.find("group world, sequence 0: rank 0 called all_reduce \"grads\" of 9 fp32") !=
            std::string::npos);
      CHECK(error.find(other.described) != std::string::npos);
    }
  }
}

TEST_CASE("rows sent must be rows expected") {
  auto body = [](TestRank& r) {
    const std::vector<int64_t> sends = {1, 2}, receives = {1, r.rank == 1 ? 2 : 1};
    Owned<float> input(r, {3, 4}), output(r, {receives[0] + receives[1], 4});
    r.world.all_to_all_v(input.tensor, sends, output.tensor, receives, "tokens").wait(r.stream);
  };
  const std::string error = comm_error([&] { run_ranks(2, body); });
  CHECK(
      error.starts_with("[all_to_all_v \"tokens\"] group world, sequence 0: rank 0 sends 2 rows "
                        "to rank 1, which expects 1; "));
}

TEST_CASE("a send that is longer than its receive is refused on both sides") {
  std::array<std::string, 2> errors;
  CHECK_THROWS_AS(run_ranks(2,
                            [&](TestRank& r) {
                              Owned<float> x(r, {5 + r.rank});
                              errors[static_cast<size_t>(r.rank)] = comm_error([&] {
                                (r.rank ? r.world.receive(x.tensor, 0, "activations")
                                        : r.world.send(x.tensor, 1, "activations"))
                                    .wait(r.stream);
                              });
                              r.world.barrier("end");
                            }),
                  CommError);
  for (const std::string& error : errors)
    CHECK(error.find("rank 0 called send \"activations\" of 5 fp32, rank 1 called receive "
                     "\"activations\" of 6 fp32") != std::string::npos);
}

TEST_CASE("a rank that fails while its peers work on its tensors frees them only afterwards") {
  auto body = [](TestRank& r) {
    Tensor x(r.arena, DType::kF32, {1 << 20}, MemoryCategory::kGradients, "x");
    std::fill_n(x.data<float>(), x.numel(), 1.0f);
    r.world.barrier("filled");
    if (r.rank == 2)
      std::this_thread::sleep_for(1ms);  // the last to post: the others start at once
    Work work = r.world.all_reduce(x, ReduceOp::kSum, "grads");
    if (r.rank == 2) {
      std::this_thread::sleep_for(50us);
      throw std::runtime_error("the data ended");
    }
    work.wait(r.stream);
    r.world.barrier("end");
  };
  for (int repeat = 0; repeat < 20; ++repeat)
    CHECK_THROWS_WITH_AS(run_ranks(4, body), "the data ended", std::runtime_error);
}

TEST_CASE("a Work that nobody waits for poisons the group") {
  CHECK_THROWS_WITH_AS(run_ranks(1,
                                 [&](TestRank& r) {
                                   Owned<float> x(r, {4});
                                   r.world.all_reduce(x.tensor, ReduceOp::kSum, "lost");
                                   r.world.barrier("next");
                                 }),
                       "[all_reduce \"lost\"] group world, sequence 0: rank 0 failed before it "
                       "waited for it",
                       CommError);
}

TEST_CASE("wrong arguments are named with their label") {
  run_ranks(1, [](TestRank& r) {
    Owned<float> x(r, {4, 3}), y(r, {4, 2});
    Owned<uint8_t> bytes(r, {4});
    auto text = [](auto&& call) -> std::string {
      try {
        call();
      } catch (const InvariantError& e) {
        return e.what();
      }
      return "";
    };
    auto expect = [](const std::string& got, const char* wanted) {
      NEMO_CHECK(got.find(wanted) != std::string::npos, "'{}' lacks '{}'", got, wanted);
    };
    expect(text([&] { r.world.all_reduce(bytes.tensor, ReduceOp::kSum, "b"); }),
           "[all_reduce \"b\"] cannot reduce uint8");
    expect(text([&] { r.world.all_reduce(x.tensor.slice(1, 0, 1), ReduceOp::kSum, "s"); }),
           "[all_reduce \"s\"] a tensor [4, 1] is not contiguous");
    expect(text([&] { r.world.all_gather(x.tensor, y.tensor, "g"); }),
           "[all_gather \"g\"] 1 parts of [4, 3] do not make [4, 2]");
    expect(text([&] { r.world.broadcast(x.tensor, 1, "c"); }),
           "[broadcast \"c\"] root 1 in a group of 1");
    expect(text([&] { r.world.send(x.tensor, 0, "p"); }), "[send \"p\"] peer 0 of rank 0 among 1");
    const std::string label(48, 'l');
    expect(text([&] { r.world.barrier(label.c_str()); }), "has 48 bytes of at most 47");
  });
}

TEST_CASE("a world of threads has 1 to 256 ranks") {
  CHECK_THROWS_AS(ThreadWorld(0, 1s), UserError);
  CHECK_THROWS_AS(ThreadWorld(257, 1s), UserError);
}
