// Every sharding strategy in every mix of schemes, each against one rank.
#include "tests/parity/against_one_rank.h"
#include "tests/support/sampled.h"

using namespace nemo;
using namespace nemo::test;

namespace {

const char* const kLlama =
    "{family: llama, vocab_size: 131, num_layers: 4, hidden_size: 24, ffn_hidden_size: 40, "
    "num_attention_heads: 4, num_query_groups: 2, init_std: 0.1}";
const char* const kTied =
    "{family: llama, vocab_size: 131, num_layers: 4, hidden_size: 24, ffn_hidden_size: 40, "
    "num_attention_heads: 4, num_query_groups: 1, init_std: 0.1, tie_embeddings: true}";
const char* const kGpt =
    "{family: gpt, vocab_size: 131, num_layers: 4, hidden_size: 24, ffn_hidden_size: 48, "
    "num_attention_heads: 4, init_std: 0.1}";
const char* const kMixtral =
    "{family: mixtral, vocab_size: 131, num_layers: 4, hidden_size: 24, ffn_hidden_size: 40, "
    "num_attention_heads: 4, num_query_groups: 2, init_std: 0.1, "
    "moe: {num_experts: 4, top_k: 2, aux_loss_coeff: 0.05}}";

// What is divided beside dp; dp_size 4 or 2, so that there is a replica to a shard.
struct Mix {
  const char* model;
  const char* parallel;
};
const Mix kMixes[] = {
    {kLlama, "dp_size: 4"},
    {kLlama, "dp_size: 6"},
    {kTied, "dp_size: 4"},
    {kGpt, "dp_size: 4"},
    {kLlama, "dp_size: 2, tp_size: 2"},
    {kLlama, "dp_size: 4, tp_size: 2, sequence_parallel: true"},
    {kTied, "dp_size: 2, tp_size: 4, sequence_parallel: true"},
    {kLlama, "dp_size: 2, cp_size: 2"},
    {kGpt, "dp_size: 2, cp_size: 4, cp_comm_type: a2a"},
    {kLlama, "dp_size: 4, pp_size: 2"},
    {kTied, "dp_size: 2, pp_size: 4"},
    {kTied, "dp_size: 4, pp_size: 2, pp_schedule: zero_bubble"},
    {kGpt, "dp_size: 2, pp_size: 2, pp_schedule: gpipe"},
    {kLlama, "dp_size: 2, pp_size: 2, vpp_size: 2"},
    {kGpt, "dp_size: 2, pp_size: 2, pp_schedule: zero_bubble"},
    {kLlama, "dp_size: 2, tp_size: 2, pp_size: 2"},
    {kTied, "dp_size: 2, tp_size: 2, pp_size: 2, sequence_parallel: true"},
    {kLlama, "dp_size: 2, tp_size: 2, cp_size: 2"},
    {kTied, "dp_size: 2, cp_size: 2, pp_size: 2"},
    {kMixtral, "dp_size: 4, ep_size: 2"},
    {kMixtral, "dp_size: 8, ep_size: 4"},
    {kMixtral, "dp_size: 4, tp_size: 2, sequence_parallel: true, ep_size: 2"},
    {kMixtral, "dp_size: 4, pp_size: 2, ep_size: 2, pp_schedule: zero_bubble"},
    {kMixtral, "dp_size: 2, cp_size: 2, ep_size: 2, etp_size: 1"},
};
// With the other four: sixteen ranks.
const Mix kWidest = {kLlama, "dp_size: 2, tp_size: 2, cp_size: 2, pp_size: 2"};

const char* const kStrategies[] = {
    "distributed_optimizer: true",
    "distributed_optimizer: true, overlap_grad_reduce: true, overlap_param_gather: true, "
    "bucket_size_mb: 0.01",
    "sharding_strategy: SHARD_GRAD_OP",
    "sharding_strategy: SHARD_GRAD_OP, overlap_grad_reduce: true, overlap_param_gather: true",
    "sharding_strategy: FULL_SHARD",
    "sharding_strategy: FULL_SHARD, overlap_grad_reduce: true, backward_prefetch: BACKWARD_POST",
    "sharding_strategy: FULL_SHARD, backward_prefetch: NONE",
    "sharding_strategy: HYBRID_SHARD, dp_replicate_size: 2, overlap_grad_reduce: true",
    "distributed_optimizer: true, dp_replicate_size: 2, gradient_as_bucket_view: false",
    "sharding_strategy: SHARD_GRAD_OP, dp_replicate_size: 2",
    "distributed_optimizer: true, cpu_offload: true, overlap_param_gather: true",
    "sharding_strategy: SHARD_GRAD_OP, cpu_offload: true, dp_replicate_size: 2",
    "sharding_strategy: FULL_SHARD, cpu_offload: true",
    "sharding_strategy: HYBRID_SHARD, dp_replicate_size: 2, cpu_offload: true, "
    "overlap_grad_reduce: true",
};

ResolvedRecipe run_of(const Mix& mix, const std::string& strategy) {
  const std::string joint = strategy.empty() ? "" : ", " + strategy;
  return small_run(mix.model, {std::string("parallel={") + mix.parallel + joint + "}"});
}

// On one rank every micro batch is what it is on a rank of the layout.
const Outcome& alone(const std::string& model) {
  static std::map<std::string, Outcome> outcomes;
  const auto found = outcomes.find(model);
  return found != outcomes.end()
             ? found->second
             : outcomes.emplace(model, train(small_run(model, {}))).first->second;
}

void check(const Mix& mix, const std::string& strategy) {
  CAPTURE(mix.parallel);
  CAPTURE(strategy);
  check_equal(train(run_of(mix, strategy)), alone(mix.model));
}

}  // namespace

// Each strategy in a third of the mixes, each mix under a third of the strategies.
TEST_CASE("strategies in mixes of schemes equal one rank") {
  size_t num_checked = 0;
  for (size_t m = 0; m < std::size(kMixes); ++m)
    for (size_t s = 0; s < std::size(kStrategies); ++s)
      if ((m + s) % 3 == 0 && !left_out(num_checked++, 7)) check(kMixes[m], kStrategies[s]);
}

TEST_CASE("soak: every strategy in every mix equals one rank" * doctest::skip()) {
  for (const Mix& mix : kMixes)
    for (const char* strategy : kStrategies) check(mix, strategy);
  for (const char* strategy : kStrategies) check(kWidest, strategy);
}
