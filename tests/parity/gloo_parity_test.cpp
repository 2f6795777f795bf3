// Mixes of schemes on ranks that share no memory give the bits of threads.
#include "tests/parity/against_one_rank.h"
#include "tests/support/gloo_ranks.h"
#include "tests/support/sampled.h"

using namespace nemo;
using namespace nemo::test;

namespace {

const std::string kLlama =
    "{family: llama, vocab_size: 131, num_layers: 4, hidden_size: 48, ffn_hidden_size: 80, "
    "num_attention_heads: 4, num_query_groups: 2, init_std: 0.1, tie_embeddings: true}";
const std::string kGpt =
    "{family: gpt, vocab_size: 131, num_layers: 4, hidden_size: 48, ffn_hidden_size: 80, "
    "num_attention_heads: 4, init_std: 0.1}";
const std::string kMixtral =
    "{family: mixtral, vocab_size: 131, num_layers: 4, hidden_size: 32, ffn_hidden_size: 40, "
    "num_attention_heads: 4, num_query_groups: 2, init_std: 0.1, moe: {num_experts: 4, "
    "aux_loss_coeff: 0.05}}";

struct Mix {
  std::string model;
  std::string parallel;
};

const Mix kMixes[] = {
    {kLlama, "{dp_size: 4, bucket_size_mb: 0.01, overlap_grad_reduce: true}"},
    {kLlama, "{tp_size: 2, sequence_parallel: true, dp_size: 2}"},
    {kLlama, "{tp_size: 2, pp_size: 2, pp_schedule: zero_bubble}"},
    {kLlama, "{cp_size: 2, dp_size: 2, overlap_grad_reduce: true}"},
    {kLlama, "{cp_size: 2, tp_size: 2, sequence_parallel: true, cp_comm_type: all_gather}"},
    {kGpt, "{cp_size: 2, pp_size: 2, cp_comm_type: a2a}"},
    {kGpt, "{tp_size: 2, sequence_parallel: true, pp_size: 2, vpp_size: 2}"},
    {kLlama, "{tp_size: 2, sequence_parallel: true, pp_size: 2, cp_size: 2}"},
    {kMixtral, "{dp_size: 4, ep_size: 4}"},
    {kMixtral, "{tp_size: 2, sequence_parallel: true, dp_size: 2, ep_size: 2}"},
    {kMixtral, "{cp_size: 2, dp_size: 2, ep_size: 2, etp_size: 2}"},
    {kMixtral, "{pp_size: 2, dp_size: 2, cp_size: 2, ep_size: 4, pp_schedule: zero_bubble}"},
    {kLlama,
     "{dp_size: 2, pp_size: 2, distributed_optimizer: true, bucket_size_mb: 0.01, "
     "overlap_grad_reduce: true, overlap_param_gather: true}"},
    {kGpt,
     "{dp_size: 2, tp_size: 2, sharding_strategy: SHARD_GRAD_OP, overlap_grad_reduce: true, "
     "overlap_param_gather: true}"},
    {kLlama,
     "{dp_size: 2, pp_size: 2, pp_schedule: zero_bubble, sharding_strategy: FULL_SHARD, "
     "overlap_grad_reduce: true}"},
    {kMixtral,
     "{dp_size: 4, ep_size: 2, dp_replicate_size: 2, sharding_strategy: HYBRID_SHARD, "
     "overlap_grad_reduce: true, cpu_offload: true}"},
};

}  // namespace

TEST_CASE("mixes over Gloo give the bits of threads") {
  for (size_t i = 0; i < std::size(kMixes); ++i) {
    if (left_out(i, 4)) continue;
    const Mix& mix = kMixes[i];
    CAPTURE(mix.parallel);
    const ResolvedRecipe run = small_run(mix.model, {"parallel=" + mix.parallel});
    const Outcome threads = train(run);
    const Outcome apart =
        train(run, [](int num_ranks, std::chrono::nanoseconds timeout, const auto& fn) {
          run_gloo_ranks(num_ranks, timeout, fn);
        });
    CHECK(threads.losses == apart.losses);
    CHECK(threads.norms == apart.norms);
    CHECK(threads.weights == apart.weights);
    CHECK(threads.routing == apart.routing);
  }
}
