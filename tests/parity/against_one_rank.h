// Every layout computes what one rank computes: loss of every step, gradient norm, weights after
// five steps, on the same seed and data in fp32. Ranks that hold the same element hold the same
// bits.
#pragma once

#include <doctest/doctest.h>

#include "lib/data/dataset.h"
#include "tests/support/sampled.h"
#include "tests/support/training.h"

namespace nemo::test {

inline constexpr int kSteps = 5;
inline constexpr double kLossBound = 1e-6;
inline constexpr double kNormBound = 5e-6;
inline constexpr double kWeightBound = 2e-6;

struct Outcome {
  std::vector<double> losses, norms;
  LogicalTensors grads, weights;  // grads: of the loss, whatever it was scaled by
  std::vector<double> routing;    // the routers' totals of the last step
};

// Five steps of 24 samples, small enough to be done on one rank. A usage error where a rule is
// broken.
inline ResolvedRecipe small_run(const std::string& model, std::vector<std::string> overrides) {
  overrides.insert(
      overrides.begin(),
      {"model=" + model, "data={kind: mock, seq_length: 40, global_batch_size: 24}",
       "trainer={max_steps: 5, threads_per_rank: 1}", "optim={lr: 3e-3, warmup_steps: 1}"});
  return resolve_text("{}", overrides);
}

inline Outcome train(const ResolvedRecipe& run, const RunRanks& run_ranks = run_thread_ranks) {
  const auto dataset =
      open_dataset(run.recipe.data, run.recipe.model.vocab_size,
                   static_cast<uint64_t>(run.recipe.trainer.seed), std::vector{Part::kTrain});
  Outcome outcome;
  Assembly grads, weights;
  float loss_scale = 1;
  on_trainers(
      run, *dataset,
      [&](Trainer& trainer, int rank) {
        for (int i = 0; i < kSteps; ++i) {
          const TrainStep step = trainer.train_step();
          if (i == 0) grads.add_grads(trainer);
          if (rank != 0) continue;
          if (i == 0) loss_scale = static_cast<float>(step.loss_scale);
          CHECK(!step.skipped);
          outcome.losses.push_back(step.loss);
          outcome.norms.push_back(step.grad_norm);
        }
        weights.add_weights(trainer);
        if (const auto& routers = trainer.model().routers; routers && rank == 0)
          outcome.routing.assign(routers->totals.data<double>(),
                                 routers->totals.data<double>() + routers->totals.numel());
      },
      run_ranks);
  outcome.grads = grads.take();
  for (auto& [name, values] : outcome.grads)
    for (float& value : values) value /= loss_scale;
  outcome.weights = weights.take();
  CHECK(drop_key_biases(outcome.grads) <= 1e-6);
  CHECK(drop_key_biases(outcome.weights) <= 1e-6);
  return outcome;
}

inline void check_equal(const Outcome& actual, const Outcome& expected) {
  for (size_t i = 0; i < kSteps; ++i) {
    CAPTURE(i);
    CHECK(std::abs(actual.losses[i] / expected.losses[i] - 1) <= kLossBound);
    CHECK(std::abs(actual.norms[i] / expected.norms[i] - 1) <= kNormBound);
  }
  CHECK(worst_difference(actual.grads, expected.grads) <= kWeightBound);
  // Of the release program alone: five steps of Adam multiply how an unoptimised one rounds.
  if (!kSanitized) CHECK(worst_difference(actual.weights, expected.weights) <= kWeightBound);
  REQUIRE(actual.routing.size() == expected.routing.size());
  for (size_t i = 0; i < expected.routing.size(); ++i)
    CHECK(actual.routing[i] == doctest::Approx(expected.routing[i]).epsilon(kLossBound));
}

}  // namespace nemo::test
