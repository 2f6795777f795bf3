// What recomputes in backward trains in the bits of what keeps, under every schedule, strategy and
// mix of schemes.
#include "lib/recipe/runnable.h"
#include "tests/parity/against_one_rank.h"
#include "tests/support/sampled.h"

using namespace nemo;
using namespace nemo::test;

namespace {

const char* const kLlama =
    "{family: llama, vocab_size: 131, num_layers: 4, hidden_size: 24, ffn_hidden_size: 40, "
    "num_attention_heads: 4, num_query_groups: 2, init_std: 0.1}";
const char* const kGpt =
    "{family: gpt, vocab_size: 131, num_layers: 4, hidden_size: 24, ffn_hidden_size: 48, "
    "num_attention_heads: 4, init_std: 0.1}";
const char* const kMixtral =
    "{family: mixtral, vocab_size: 131, num_layers: 4, hidden_size: 24, ffn_hidden_size: 40, "
    "num_attention_heads: 4, num_query_groups: 2, init_std: 0.1, moe: {num_experts: 4, top_k: 2, "
    "aux_loss_coeff: 0.05, z_loss_coeff: 0.01, capacity_factor: 0.9}}";
// Without an auxiliary loss routers count in another way; the bias needs what they count.
const char* const kBias =
    "{family: mixtral, vocab_size: 131, num_layers: 4, hidden_size: 24, ffn_hidden_size: 40, "
    "num_attention_heads: 4, num_query_groups: 2, init_std: 0.1, moe: {num_experts: 4, top_k: 2, "
    "router_bias_update_rate: 0.05}}";

struct Row {
  const char* model;
  const char* parallel;
};
const Row kRows[] = {
    {kLlama, "dp_size: 1"},
    {kGpt, "dp_size: 1"},
    {kMixtral, "dp_size: 1"},
    {kLlama, "tp_size: 2"},
    {kLlama, "tp_size: 2, sequence_parallel: true"},
    {kLlama, "cp_size: 2"},
    {kLlama, "cp_size: 2, cp_comm_type: all_gather"},
    {kLlama, "cp_size: 2, cp_comm_type: a2a"},
    {kLlama, "pp_size: 2"},
    {kLlama, "pp_size: 2, pp_schedule: gpipe"},
    {kLlama, "pp_size: 2, pp_schedule: zero_bubble"},
    {kLlama, "pp_size: 2, vpp_size: 2"},
    {kLlama, "dp_size: 2, overlap_grad_reduce: true, bucket_size_mb: 0.01"},
    {kLlama, "dp_size: 2, distributed_optimizer: true, overlap_param_gather: true"},
    {kLlama, "dp_size: 2, sharding_strategy: SHARD_GRAD_OP"},
    {kLlama, "dp_size: 2, sharding_strategy: FULL_SHARD"},
    {kLlama, "dp_size: 2, sharding_strategy: FULL_SHARD, cpu_offload: true"},
    {kLlama, "dp_size: 4, dp_replicate_size: 2, sharding_strategy: HYBRID_SHARD"},
    {kGpt, "tp_size: 2, sequence_parallel: true, pp_size: 2, pp_schedule: zero_bubble"},
    {kGpt,
     "dp_size: 2, pp_size: 2, pp_schedule: zero_bubble, sharding_strategy: FULL_SHARD, "
     "overlap_grad_reduce: true"},
    {kGpt,
     "dp_size: 2, pp_size: 2, vpp_size: 2, sharding_strategy: FULL_SHARD, "
     "backward_prefetch: BACKWARD_POST"},
    {kLlama, "tp_size: 2, sequence_parallel: true, cp_size: 2, pp_size: 2"},
    {kMixtral, "dp_size: 2, ep_size: 2"},
    {kMixtral, "tp_size: 2, sequence_parallel: true, cp_size: 2, ep_size: 2"},
    {kMixtral, "tp_size: 2, sequence_parallel: true, dp_size: 2, etp_size: 1, ep_size: 4"},
    {kMixtral,
     "dp_size: 2, ep_size: 2, pp_size: 2, pp_schedule: zero_bubble, sharding_strategy: "
     "FULL_SHARD"},
    {kBias, "dp_size: 2, ep_size: 2"},
    {kBias, "dp_size: 2, ep_size: 2, pp_size: 2, vpp_size: 2"},
};

Outcome train_with(const Row& row, const std::string& recompute) {
  const ResolvedRecipe run = small_run(
      row.model, {std::string("parallel={") + row.parallel + ", recompute: " + recompute + "}"});
  CHECK(not_runnable(run).empty());
  return train(run);
}

}  // namespace

TEST_CASE("recompute trains in the bits of what is kept") {
  for (size_t i = 0; i < std::size(kRows); ++i) {
    if (left_out(i, 5)) continue;
    CAPTURE(kRows[i].parallel);
    const Outcome kept = train_with(kRows[i], "none");
    REQUIRE(kept.losses.back() < kept.losses.front());
    for (const std::string recompute : {"selective", "full"}) {
      CAPTURE(recompute);
      const Outcome again = train_with(kRows[i], recompute);
      CHECK(again.losses == kept.losses);
      CHECK(again.norms == kept.norms);
      CHECK(again.grads == kept.grads);
      CHECK(again.weights == kept.weights);
      CHECK(again.routing == kept.routing);
    }
  }
}
