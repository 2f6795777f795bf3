// What the sharding strategies hold and send, against the formulas.
#include <doctest/doctest.h>

#include "lib/comm/traffic.h"
#include "lib/model/state_memory.h"
#include "lib/train/predict_step.h"
#include "tests/support/training.h"

using namespace nemo;
using namespace nemo::test;

namespace {

const std::string kNoShard = "sharding_strategy: NO_SHARD";
const std::string kDistributed = "distributed_optimizer: true";
const std::string kGradOp = "sharding_strategy: SHARD_GRAD_OP";
const std::string kFull = "sharding_strategy: FULL_SHARD";

constexpr int64_t kMicroBatches = 3;

// Large enough that padding is little.
ResolvedRecipe run_of(const std::string& parallel, int64_t dp) {
  return resolve_text(
      "{}",
      {"model={family: llama, vocab_size: 1024, num_layers: 3, hidden_size: 64, ffn_hidden_size: "
       "176, num_attention_heads: 4, num_query_groups: 2}",
       "data={kind: mock, seq_length: 16, global_batch_size: " +
           std::to_string(kMicroBatches * dp) + "}",
       "trainer={max_steps: 2, threads_per_rank: 1}",
       "parallel={dp_size: " + std::to_string(dp) + ", " + parallel + "}"});
}

// Bytes of a rank's parameters: of all, of the units that a visit of the first and of the last
// layer needs.
struct UnitBytes {
  double all = 0, first = 0, last = 0;
};
UnitBytes unit_bytes(const ResolvedRecipe& run) {
  Arena nothing(Device{DeviceKind::kRecord}, Arena::kUnlimited);
  const ModelConfig& config = run.recipe.model;
  const WholePartition whole;
  const Model model = build_model(config, 16, {all_layers(config)}, whole, nothing);
  UnitBytes bytes;
  for (const Param& param : model.params.params()) {
    const double size = static_cast<double>(4 * param.shape.numel());
    bytes.all += size;
    const std::string& unit = model.params.unit_name(param.unit);
    if (unit == "embedding") bytes.first += size;
    if (unit == "final_norm" || unit == "head") bytes.last += size;
  }
  return bytes;
}

double sent(const Traffic& traffic, const std::string& group, const std::string& operation) {
  const auto found = traffic.groups().find(group);
  if (found == traffic.groups().end()) return 0;
  const auto sum = found->second.operations.find(operation);
  return sum == found->second.operations.end() ? 0 : static_cast<double>(sum->second.bytes);
}

void check_near(double actual, double expected) {
  CHECK(actual >= expected * 0.999);  // rounded down for each operation
  CHECK(actual <= expected * 1.01);   // padded
}

}  // namespace

TEST_CASE("the state of a rank is the formula's within a hundredth") {
  for (const std::string& strategy : {kNoShard, kDistributed, kGradOp, kFull})
    for (const int64_t dp : {1, 2, 4, 8}) {
      CAPTURE(strategy);
      CAPTURE(dp);
      const ResolvedRecipe run = run_of(strategy, dp);
      const StateMemory formula = state_memory(run).at(0);
      const auto dataset =
          open_dataset(run.recipe.data, run.recipe.model.vocab_size, 1, std::vector{Part::kTrain});
      on_trainers(run, *dataset, [&](Trainer& trainer, int rank) {
        trainer.train_step();
        if (rank != 0) return;
        const auto peak = [&](MemoryCategory category) {
          return static_cast<double>(trainer.memory().peak[static_cast<size_t>(category)]);
        };
        check_near(peak(MemoryCategory::kParameters), static_cast<double>(formula.parameters));
        check_near(peak(MemoryCategory::kGradients), static_cast<double>(formula.gradients));
        check_near(peak(MemoryCategory::kOptimizer), static_cast<double>(formula.optimizer));
      });
    }
}

TEST_CASE("what a strategy sends in a step is its formula") {
  constexpr int64_t kRanks = 4;
  constexpr double kShare = static_cast<double>(kRanks - 1) / kRanks, kTimes = kMicroBatches;
  const UnitBytes bytes = unit_bytes(run_of(kNoShard, kRanks));
  const auto traffic = [](const std::string& parallel) {
    return predict_step(run_of(parallel, kRanks), 0).traffic;
  };
  const std::string group = "dp_shard_cp";
  for (const std::string overlap :
       {"overlap_grad_reduce: false", "overlap_grad_reduce: true, overlap_param_gather: true"}) {
    CAPTURE(overlap);
    const Traffic none = traffic(kNoShard + ", " + overlap);
    check_near(sent(none, "dp_cp", "all_reduce"), 2 * kShare * bytes.all);
    CHECK(none.groups().count(group) == 0);

    const Traffic distributed = traffic(kDistributed + ", " + overlap);
    check_near(sent(distributed, group, "reduce_scatter"), kShare * bytes.all);
    check_near(sent(distributed, group, "all_gather"), kShare * bytes.all);

    const Traffic grad_op = traffic(kGradOp + ", " + overlap);
    check_near(sent(grad_op, group, "reduce_scatter"), kTimes * kShare * bytes.all);
    check_near(sent(grad_op, group, "all_gather"), kShare * bytes.all);

    // Not again at the turn from forward to backward, nor from one micro batch to the next.
    for (const std::string prefetch : {"BACKWARD_PRE", "BACKWARD_POST", "NONE"}) {
      CAPTURE(prefetch);
      const Traffic full = traffic(kFull + ", " + overlap + ", backward_prefetch: " + prefetch);
      check_near(sent(full, group, "reduce_scatter"), kTimes * kShare * bytes.all);
      check_near(sent(full, group, "all_gather"),
                 kShare * (kTimes * (2 * bytes.all - bytes.last) - (kTimes - 1) * bytes.first));
    }
  }
  // Two replicas of two shards.
  const Traffic hybrid = traffic("sharding_strategy: HYBRID_SHARD, dp_replicate_size: 2");
  check_near(sent(hybrid, group, "reduce_scatter"), kTimes * bytes.all / 2);
  check_near(sent(hybrid, group, "all_gather"),
             (kTimes * (2 * bytes.all - bytes.last) - (kTimes - 1) * bytes.first) / 2);
  check_near(sent(hybrid, "dp_replicate", "all_reduce"), bytes.all / 2);
}
