// What an overflow under 16-mixed leaves as it was.
#include "tests/parity/against_one_rank.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr int kGoodSteps = 3;

// Four samples, in order, which every step sees.
// With such an eps an update is as large as the gradient, not as its sign.
ResolvedRecipe run_of(const std::string& file, double scale, const std::string& parallel) {
  return resolve_text(
      "{}", {"model={family: mixtral, vocab_size: 256, num_layers: 2, hidden_size: 16, "
             "ffn_hidden_size: 24, num_attention_heads: 4, num_query_groups: 2, init_std: 0.1, "
             "moe: {num_experts: 2, top_k: 1, aux_loss_coeff: 0.1, router_bias_update_rate: 0.01}}",
             "data={kind: text, paths: [" + file +
                 "], seq_length: 16, global_batch_size: 4, shuffle: false, split: [1, 0, 0]}",
             "trainer={max_steps: 100, threads_per_rank: 1, precision: 16-mixed}",
             "optim={lr: 3e-1, warmup_steps: 5, eps: 1, clip_grad: 0}",
             "precision.initial_loss_scale=" + std::to_string(scale), "parallel=" + parallel});
}

struct Steps {
  std::vector<TrainStep> steps;
  LogicalTensors weights;
};

// Steps until kGoodSteps were not skipped. Every rank must say the same of each.
Steps train_past_overflows(const ResolvedRecipe& run) {
  const auto dataset =
      open_dataset(run.recipe.data, run.recipe.model.vocab_size, 1, std::vector{Part::kTrain});
  std::vector<std::vector<TrainStep>> of_rank(static_cast<size_t>(run.sizes.world));
  Assembly weights;
  on_trainers(run, *dataset, [&](Trainer& trainer, int rank) {
    auto& steps = of_rank[static_cast<size_t>(rank)];
    for (int num_good = 0; num_good < kGoodSteps && steps.size() < 50;
         num_good += !steps.back().skipped)
      steps.push_back(trainer.train_step());
    weights.add_weights(trainer);
  });
  for (const auto& steps : of_rank) {
    REQUIRE(steps.size() == of_rank[0].size());
    for (size_t i = 0; i < steps.size(); ++i) {
      CHECK(steps[i].skipped == of_rank[0][i].skipped);
      CHECK(steps[i].loss_scale == of_rank[0][i].loss_scale);
    }
  }
  return {of_rank[0], weights.take()};
}

}  // namespace

TEST_CASE("an overflow halves the scale on every rank, and is otherwise no step at all") {
  const TempFolder folder;
  std::string text;
  for (int i = 0; i < 65; ++i) text += static_cast<char>('a' + i * i % 23);
  write_file(folder / "text", text);
  const std::string file = (folder / "text").string();
  for (const std::string parallel : {"{dp_size: 1}", "{dp_size: 4}",
                                     "{tp_size: 2, sequence_parallel: true, pp_size: 2, dp_size: "
                                     "2, sharding_strategy: FULL_SHARD}",
                                     "{dp_size: 2, ep_size: 2, distributed_optimizer: true}"}) {
    CAPTURE(parallel);
    const Steps overflowing = train_past_overflows(run_of(file, 0x1p32, parallel));
    size_t num_overflows = 0;
    while (overflowing.steps[num_overflows].skipped) ++num_overflows;
    REQUIRE(num_overflows > 3);
    REQUIRE(overflowing.steps.size() == num_overflows + kGoodSteps);
    for (size_t i = 0; i < num_overflows; ++i) {
      CHECK(overflowing.steps[i].overflowed);
      CHECK(overflowing.steps[i].loss_scale == std::ldexp(1, 32 - static_cast<int>(i)));
      CHECK(!std::isfinite(overflowing.steps[i].grad_norm));
      CHECK(overflowing.steps[i].loss == overflowing.steps[0].loss);
      CHECK(overflowing.steps[i].lr == overflowing.steps[0].lr);
    }
    // As if it had begun with the scale that does not overflow.
    const double scale = std::ldexp(1, 32 - static_cast<int>(num_overflows));
    const Steps clean = train_past_overflows(run_of(file, scale, parallel));
    REQUIRE(clean.steps.size() == kGoodSteps);
    for (size_t i = 0; i < kGoodSteps; ++i) {
      const TrainStep& step = overflowing.steps[num_overflows + i];
      CHECK(step.loss_scale == scale);
      CHECK(step.loss == clean.steps[i].loss);
      CHECK(step.grad_norm == clean.steps[i].grad_norm);
      CHECK(step.lr == clean.steps[i].lr);
    }
    CHECK(overflowing.weights == clean.weights);
  }
}

TEST_CASE("gradients and updates do not depend on the loss scale, but for rounding") {
  const TempFolder folder;
  std::string text;
  for (int i = 0; i < 65; ++i) text += static_cast<char>('a' + i * i % 23);
  write_file(folder / "text", text);
  const std::string file = (folder / "text").string();
  const Steps a = train_past_overflows(run_of(file, 1024, "{dp_size: 1}")),
              b = train_past_overflows(run_of(file, 4096, "{dp_size: 1}"));
  CHECK(std::abs(a.steps[0].grad_norm / b.steps[0].grad_norm - 1) < 1e-3);
  CHECK(worst_difference(a.weights, b.weights) < 1e-2);
}
