// Mixtures of experts by layout, each against one rank: experts and their dispatch, auxiliary
// losses, capacity, balancing.
#include "tests/parity/against_one_rank.h"
#include "tests/support/process_ranks.h"
#include "tests/support/sampled.h"

using namespace nemo;
using namespace nemo::test;

namespace {

std::string mixtral(const std::string& moe, int num_layers = 2) {
  return "{family: mixtral, vocab_size: 131, num_layers: " + std::to_string(num_layers) +
         ", hidden_size: 32, ffn_hidden_size: 40, num_attention_heads: 4, num_query_groups: 2, "
         "init_std: 0.1, moe: {" +
         moe + "}}";
}

const std::string kPlain = mixtral("num_experts: 4, top_k: 2");
const std::string kLosses =
    mixtral("num_experts: 4, top_k: 2, aux_loss_coeff: 0.05, z_loss_coeff: 0.01");
const std::string kCapacity =
    mixtral("num_experts: 4, top_k: 2, capacity_factor: 0.9, aux_loss_coeff: 0.05");
const std::string kBias =
    mixtral("num_experts: 8, top_k: 3, router_bias_update_rate: 0.05, router_pre_softmax: true");
const std::string kDeep = mixtral("num_experts: 4, top_k: 2, aux_loss_coeff: 0.05", 4);

const std::string kSp = "parallel.sequence_parallel=true";

struct Layout {
  std::string name;
  std::string model;
  std::vector<std::string> overrides;
  // Of one rank too: auxiliary losses and capacity are of a micro batch.
  std::vector<std::string> batches = {};
};

const std::vector<std::string> kPairs = {"data.micro_batch_size=2"};

const Layout kLayouts[] = {
    {"dp2", kLosses, {"parallel.dp_size=2"}},
    {"dp2 ep2", kPlain, {"parallel.dp_size=2", "parallel.ep_size=2"}},
    {"dp2 ep2, losses", kLosses, {"parallel.dp_size=2", "parallel.ep_size=2"}},
    {"dp4 ep2", kLosses, {"parallel.dp_size=4", "parallel.ep_size=2"}},
    {"dp4 ep4, pairs", kLosses, {"parallel.dp_size=4", "parallel.ep_size=4"}, kPairs},
    {"dp8 ep8", kBias, {"parallel.dp_size=8", "parallel.ep_size=8"}},
    {"dp4 ep4 overlapped",
     kLosses,
     {"parallel.dp_size=4", "parallel.ep_size=2", "parallel.bucket_size_mb=0.001",
      "parallel.overlap_grad_reduce=true"}},
    {"dp4 ep2 staged buckets",
     kLosses,
     {"parallel.dp_size=4", "parallel.ep_size=2", "parallel.gradient_as_bucket_view=false"}},
    {"dp2 etp2", kLosses, {"parallel.dp_size=2", "parallel.etp_size=2"}},
    {"dp4 etp2 ep2", kLosses, {"parallel.dp_size=4", "parallel.etp_size=2", "parallel.ep_size=2"}},
    {"tp2 sp", kLosses, {"parallel.tp_size=2", kSp}},
    {"tp2 sp etp1", kLosses, {"parallel.tp_size=2", kSp, "parallel.etp_size=1"}},
    {"tp2 sp etp1 ep2",
     kLosses,
     {"parallel.tp_size=2", kSp, "parallel.etp_size=1", "parallel.ep_size=2"}},
    {"tp4 sp, kv replicated, pairs", kLosses, {"parallel.tp_size=4", kSp}, kPairs},
    {"tp4 sp etp2 ep2",
     kLosses,
     {"parallel.tp_size=4", kSp, "parallel.etp_size=2", "parallel.ep_size=2"}},
    {"tp2 sp dp2 ep2",
     kLosses,
     {"parallel.tp_size=2", kSp, "parallel.dp_size=2", "parallel.ep_size=2"}},
    {"tp2 sp dp2 etp1 ep4",
     kLosses,
     {"parallel.tp_size=2", kSp, "parallel.dp_size=2", "parallel.etp_size=1",
      "parallel.ep_size=4"}},
    {"capacity, dp2 ep2", kCapacity, {"parallel.dp_size=2", "parallel.ep_size=2"}},
    {"capacity, tp2 sp, pairs", kCapacity, {"parallel.tp_size=2", kSp}, kPairs},
    {"capacity, tp4 sp dp2 etp1 ep4",
     kCapacity,
     {"parallel.tp_size=4", kSp, "parallel.dp_size=2", "parallel.etp_size=1",
      "parallel.ep_size=4"}},
    {"bias, dp4 ep2", kBias, {"parallel.dp_size=4", "parallel.ep_size=2"}},
    {"bias, tp2 sp dp2 ep2",
     kBias,
     {"parallel.tp_size=2", kSp, "parallel.dp_size=2", "parallel.ep_size=2"}},
    {"cp2", kLosses, {"parallel.cp_size=2"}},
    {"cp2 ep2", kLosses, {"parallel.cp_size=2", "parallel.ep_size=2"}},
    {"cp4 ep2 etp2", kLosses, {"parallel.cp_size=4", "parallel.ep_size=2", "parallel.etp_size=2"}},
    {"cp2 dp2 ep4", kLosses, {"parallel.cp_size=2", "parallel.dp_size=2", "parallel.ep_size=4"}},
    {"tp2 sp cp2 ep2, pairs",
     kLosses,
     {"parallel.tp_size=2", kSp, "parallel.cp_size=2", "parallel.ep_size=2"},
     kPairs},
    {"capacity, cp2 ep2", kCapacity, {"parallel.cp_size=2", "parallel.ep_size=2"}},
    {"capacity, tp2 sp cp2 dp2 etp1 ep4, pairs",
     kCapacity,
     {"parallel.tp_size=2", kSp, "parallel.cp_size=2", "parallel.dp_size=2", "parallel.etp_size=1",
      "parallel.ep_size=4"},
     kPairs},
    {"pp2", kDeep, {"parallel.pp_size=2"}},
    {"pp2 dp2 ep2", kDeep, {"parallel.pp_size=2", "parallel.dp_size=2", "parallel.ep_size=2"}},
    {"pp2 zero-bubble dp2 ep2, overlapped",
     kDeep,
     {"parallel.pp_size=2", "parallel.pp_schedule=zero_bubble", "parallel.dp_size=2",
      "parallel.ep_size=2", "parallel.overlap_grad_reduce=true"}},
    {"pp2 interleaved dp2 ep2",
     kDeep,
     {"parallel.pp_size=2", "parallel.vpp_size=2", "parallel.dp_size=2", "parallel.ep_size=2"}},
    {"cp2 pp2 dp2 ep2",
     kDeep,
     {"parallel.cp_size=2", "parallel.pp_size=2", "parallel.dp_size=2", "parallel.ep_size=2"}},
    {"tp2 sp pp2 dp2 ep2",
     kDeep,
     {"parallel.tp_size=2", kSp, "parallel.pp_size=2", "parallel.dp_size=2", "parallel.ep_size=2"}},
};

}  // namespace

TEST_CASE("every layout of experts equals one rank") {
  std::map<std::pair<std::string, std::vector<std::string>>, Outcome> alone;
  for (size_t i = 0; i < std::size(kLayouts); ++i) {
    if (left_out(i, 5)) continue;
    const Layout& layout = kLayouts[i];
    CAPTURE(layout.name);
    const auto key = std::pair(layout.model, layout.batches);
    if (!alone.contains(key)) alone[key] = train(small_run(layout.model, layout.batches));
    REQUIRE(alone[key].losses.back() < alone[key].losses.front());
    std::vector<std::string> overrides = layout.overrides;
    overrides.insert(overrides.end(), layout.batches.begin(), layout.batches.end());
    check_equal(train(small_run(layout.model, overrides)), alone[key]);
  }
}

TEST_CASE("experts twice give the same bits, as threads and as processes") {
  const std::pair<std::string, std::vector<std::string>> mixes[] = {
      {kCapacity,
       {"parallel.tp_size=2", kSp, "parallel.dp_size=2", "parallel.ep_size=2",
        "parallel.overlap_grad_reduce=true"}},
      {kDeep,
       {"parallel.cp_size=2", "parallel.pp_size=2", "parallel.pp_schedule=zero_bubble",
        "parallel.dp_size=2", "parallel.ep_size=4", "parallel.overlap_grad_reduce=true"}}};
  for (const auto& [model, overrides] : mixes) {
    const ResolvedRecipe run = small_run(model, overrides);
    const Outcome first = train(run);
    for (const Outcome& again : {train(run), train(run, run_hosted_ranks)}) {
      CHECK(first.losses == again.losses);
      CHECK(first.norms == again.norms);
      CHECK(first.weights == again.weights);
      CHECK(first.routing == again.routing);
    }
  }
}
