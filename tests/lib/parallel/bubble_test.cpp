// The bubble that the runtime leaves, measured, against the one that the simulation foretells.
#include <doctest/doctest.h>

#include <chrono>
#include <cmath>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/elementwise.h"
#include "lib/core/clock.h"
#include "lib/parallel/pipeline/pipeline.h"
#include "lib/parallel/pipeline/simulate.h"
#include "tests/support/plain_weights.h"
#include "tests/support/run_ranks.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr int kRanks = 4;
constexpr int kMicrobatches = 8;
constexpr int kHidden = 4;

// A layer whose passes only take time, each the same, and that adds up how much they took.
class SleepingLayer final : public Layer {
 public:
  SleepingLayer(std::chrono::microseconds pass, double& busy)
      : Layer("sleeping", {}), pass_(pass), busy_(busy) {}

  std::unique_ptr<State> make_state() const override { return std::make_unique<State>(); }
  Tensor forward(Context& ctx, const MicroBatch& batch, const Tensor&, State&) const override {
    return pass(ctx, batch);
  }
  Tensor backward_input(Context& ctx, const MicroBatch& batch, const Tensor&,
                        State&) const override {
    return pass(ctx, batch);
  }
  void backward_weight(Context& ctx, const MicroBatch& batch, State&) const override {
    pass(ctx, batch);
  }
  void discard(State&) const override {}

 private:
  Tensor pass(Context& ctx, const MicroBatch& batch) const {
    const Clock::time_point begin = Clock::now();
    std::this_thread::sleep_for(pass_);
    const Tensor output = ctx.activation({batch.num_tokens(), kHidden}, "output");
    kernels::fill(ctx.stream, output, 1);
    busy_ += seconds_since(begin);
    return output;
  }

  std::chrono::microseconds pass_;
  double& busy_;
};

struct Measured {
  double pass;      // ms of one chunk's F, B or W
  double duration;  // in passes of a rank
  double bubble;
};

// One step of the runtime, whose passes take so long on the chunks of a rank together.
Measured measure(PipelineSchedule kind, int num_chunks, std::chrono::milliseconds pass) {
  Recipe recipe;
  recipe.model.hidden_size = kHidden;
  recipe.parallel.pp_size = kRanks;
  recipe.parallel.vpp_size = num_chunks;
  recipe.parallel.microbatch_group_size = kRanks;
  recipe.parallel.pp_schedule = kind;
  Sizes sizes;
  sizes.world = sizes.pp = kRanks;
  sizes.vpp = num_chunks;
  double duration = 0;
  double busy = 0;
  run_ranks(kRanks, [&](TestRank& test_rank) {
    const DeviceMesh mesh(test_rank.world, Grid(sizes));
    double own_busy = 0;
    std::vector<Pipeline::Layers> chunks(static_cast<size_t>(num_chunks));
    for (auto& chunk : chunks)
      chunk.push_back(std::make_unique<SleepingLayer>(pass / num_chunks, own_busy));
    Pipeline pipeline(std::move(chunks), recipe, kMicrobatches, mesh);
    const WholePartition partition;
    const ParamSet no_params(partition);
    PlainWeights no_weights(test_rank.arena, no_params);
    Context ctx = {.stream = test_rank.stream,
                   .weights = no_weights,
                   .grads = no_weights,
                   .mesh = mesh,
                   .loss_sum = {}};
    const auto ints = [&](const Shape& shape) {
      return Tensor(test_rank.arena, DType::kI32, shape, MemoryCategory::kData, "ints");
    };
    const MicroBatch batch = {ints({1, 2}), ints({1, 2}), ints({2})};
    test_rank.world.barrier("begin");
    const Clock::time_point begin = Clock::now();
    pipeline.train(ctx, [&](int64_t) -> const MicroBatch& { return batch; });
    double own_duration = seconds_since(begin);
    const auto over_ranks = [&](double& value, ReduceOp op) {
      test_rank.world.all_reduce(Tensor(&value, DType::kF64, {1}), op, "measured")
          .wait(test_rank.stream);
    };
    over_ranks(own_duration, ReduceOp::kMax);
    over_ranks(own_busy, ReduceOp::kSum);
    if (test_rank.rank != 0) return;
    duration = own_duration;
    busy = own_busy;
  });
  const double pass_s = std::chrono::duration<double>(pass).count();
  return {1e3 * pass_s, duration / pass_s, 1 - busy / (kRanks * duration)};
}

// Once within 10% of the expected bubble. What else runs on the machine delays a step by amounts
// that do not grow with its passes, so longer ones are tried where it is busy.
Measured measure(PipelineSchedule kind, int num_chunks, double expected) {
  Measured measured{};
  for (int ms = 10; ms <= 160; ms *= 2) {
    measured = measure(kind, num_chunks, std::chrono::milliseconds(ms));
    if (std::abs(measured.bubble / expected - 1) <= 0.1) break;
  }
  return measured;
}

}  // namespace

TEST_CASE("the runtime's bubble is the simulated one") {
  const auto run = [](PipelineSchedule kind, int num_chunks) {
    const PipelineShape shape = {kRanks, num_chunks, kMicrobatches, kRanks};
    const double expected = simulate(make_schedule(kind, shape), {}).bubble;
    const Measured measured = measure(kind, num_chunks, expected);
    MESSAGE("bubble simulated " << expected << ", measured " << measured.bubble << ", step of "
                                << measured.duration << " passes of " << measured.pass << " ms");
    CHECK(std::abs(measured.bubble / expected - 1) <= 0.1);
    return measured;
  };
  const Measured plain = run(PipelineSchedule::k1F1B, 1);
  const Measured interleaved = run(PipelineSchedule::k1F1B, 2);
  const Measured zero_bubble = run(PipelineSchedule::kZeroBubble, 1);
  CHECK(interleaved.bubble < plain.bubble);
  CHECK(zero_bubble.bubble < plain.bubble);
}
