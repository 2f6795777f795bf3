// Layouts in 16 bits against one rank in the same precision. A rounding changes with the place
// where it happens, so a layout that rounds elsewhere (partial sums of tp and cp ranks) is as far
// from one rank as both are from fp32 at most: the sum of two distances, each that of one rank. One
// that computes every micro batch alike (dp, pp, shards) begins with the bits of fp32's bounds.
#include "tests/parity/against_one_rank.h"
#include "tests/support/sampled.h"

using namespace nemo;
using namespace nemo::test;

namespace {

const char* const kLlama =
    "{family: llama, vocab_size: 131, num_layers: 4, hidden_size: 48, ffn_hidden_size: 80, "
    "num_attention_heads: 4, num_query_groups: 2, init_std: 0.1}";
const char* const kMixtral =
    "{family: mixtral, vocab_size: 131, num_layers: 2, hidden_size: 32, ffn_hidden_size: 40, "
    "num_attention_heads: 4, num_query_groups: 2, init_std: 0.1, moe: {num_experts: 4, top_k: 4, "
    "aux_loss_coeff: 0.1, z_loss_coeff: 0.01}}";

struct Layout {
  const char* model;
  const char* parallel;
  bool alike;  // every micro batch is computed as on one rank
};

const Layout kLayouts[] = {
    {kLlama, "{dp_size: 4}", true},
    {kLlama, "{dp_size: 2, distributed_optimizer: true, overlap_param_gather: true}", true},
    {kLlama, "{dp_size: 4, sharding_strategy: FULL_SHARD}", true},
    {kLlama, "{dp_size: 2, sharding_strategy: FULL_SHARD, cpu_offload: true}", true},
    {kLlama, "{pp_size: 2}", true},
    {kLlama, "{pp_size: 2, dp_size: 2, pp_schedule: zero_bubble, sharding_strategy: FULL_SHARD}",
     true},
    {kLlama, "{tp_size: 2}", false},
    {kLlama, "{tp_size: 2, sequence_parallel: true}", false},
    {kLlama, "{tp_size: 4, sequence_parallel: true}", false},
    {kLlama, "{cp_size: 2}", false},
    {kLlama, "{cp_size: 4, cp_comm_type: all_gather}", false},
    {kLlama, "{cp_size: 2, cp_comm_type: a2a}", false},
    {kLlama,
     "{tp_size: 2, sequence_parallel: true, pp_size: 2, dp_size: 2, sharding_strategy: FULL_SHARD}",
     false},
    {kMixtral, "{dp_size: 2, ep_size: 2}", false},
    {kMixtral, "{tp_size: 2, sequence_parallel: true, dp_size: 2, ep_size: 2, etp_size: 2}", false},
};

double worst_loss_difference(const Outcome& a, const Outcome& b) {
  double worst = 0;
  for (size_t i = 0; i < b.losses.size(); ++i)
    worst = std::max(worst, std::abs(a.losses[i] - b.losses[i]));
  return worst;
}

double worst_norm_difference(const Outcome& a, const Outcome& b) {
  double worst = 0;
  for (size_t i = 0; i < b.norms.size(); ++i)
    worst = std::max(worst, std::abs(a.norms[i] / b.norms[i] - 1));
  return worst;
}

void check_layout(const Layout& layout, const std::string& precision) {
  CAPTURE(layout.parallel);
  const Outcome exact = train(small_run(layout.model, {}));
  const Outcome alone = train(small_run(layout.model, {precision}));
  const Outcome actual =
      train(small_run(layout.model, {precision, std::string("parallel=") + layout.parallel}));
  CHECK(worst_loss_difference(alone, exact) > 0);
  // One rank's own distance. Some dozens of independent roundings lie between a weight, the loss
  // and its gradient, which add up as their root does.
  const double noise = worst_difference(alone.grads, exact.grads);
  CHECK(noise <= 8 * (precision.ends_with("bf16-mixed") ? 0x1p-8 : 0x1p-11));
  CHECK(worst_loss_difference(actual, alone) <= 2 * worst_loss_difference(alone, exact));
  CHECK(worst_norm_difference(actual, alone) <= 2 * worst_norm_difference(alone, exact));
  CHECK(worst_difference(actual.grads, alone.grads) <= 2 * noise);
  CHECK(worst_difference(actual.weights, alone.weights) <=
        2 * worst_difference(alone.weights, exact.weights));
  if (!layout.alike) return;
  CHECK(std::abs(actual.losses[0] / alone.losses[0] - 1) <= kLossBound);
  CHECK(std::abs(actual.norms[0] / alone.norms[0] - 1) <= kNormBound);
  CHECK(worst_difference(actual.grads, alone.grads) <= kWeightBound);
}

}  // namespace

TEST_CASE("layouts in 16 bits are as near to one rank as that is to fp32") {
  for (const std::string precision :
       {"trainer.precision=bf16-mixed", "trainer.precision=16-mixed"}) {
    CAPTURE(precision);
    for (size_t i = 0; i < std::size(kLayouts); ++i)
      if (!left_out(i, 5)) check_layout(kLayouts[i], precision);
  }
}

TEST_CASE("every precision gives the same bits twice") {
  size_t num_runs = 0;
  for (const char* precision :
       {"trainer.precision=bf16-mixed", "trainer.precision=16-mixed", "trainer.precision=bf16-true",
        "precision={reduce_dtype: bf16, output_dtype: bf16, buffer_dtype: bf16}"})
    for (const char* parallel :
         {"{dp_size: 1}", "{tp_size: 2, pp_size: 2, dp_size: 2, sharding_strategy: FULL_SHARD}"}) {
      if (left_out(++num_runs, 4)) continue;
      CAPTURE(precision);
      CAPTURE(parallel);
      const ResolvedRecipe run =
          small_run(kLlama, {precision, std::string("parallel=") + parallel});
      const Outcome first = train(run), second = train(run);
      CHECK(first.losses == second.losses);
      CHECK(first.norms == second.norms);
      CHECK(first.grads == second.grads);
      CHECK(first.weights == second.weights);
    }
}

// add_weights holds every element against all ranks that have it: replicas that rounded apart would
// leave a NaN, which equals nothing.
TEST_CASE("bf16-true rounds what several ranks hold alike on all of them") {
  const Outcome one = train(small_run(kLlama, {"trainer.precision=bf16-true"}));
  for (const char* parallel :
       {"{tp_size: 4}", "{dp_size: 4}", "{tp_size: 2, pp_size: 2, dp_size: 2}",
        "{dp_size: 4, dp_replicate_size: 2, sharding_strategy: HYBRID_SHARD}"}) {
    CAPTURE(parallel);
    const Outcome outcome = train(
        small_run(kLlama, {"trainer.precision=bf16-true", std::string("parallel=") + parallel}));
    for (const auto& [name, values] : outcome.weights)
      for (const float value : values) REQUIRE(!std::isnan(value));
    // A random choice that falls otherwise moves a weight by 2^-7 of it at most.
    CHECK(worst_difference(outcome.weights, one.weights) <= kSteps * 0x1p-7);
  }
}
