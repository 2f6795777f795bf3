#include "lib/model/state_memory.h"

#include "lib/core/dtype.h"
#include "lib/core/math.h"
#include "lib/model/param_count.h"

namespace nemo {
namespace {

// In how many parts each category is cut; 1 = whole on every rank.
struct Shards {
  int64_t parameters = 1;
  int64_t gradients = 1;
  int64_t optimizer = 1;
};

Shards shards_over(const ParallelConfig& parallel, int64_t num_ranks) {
  switch (parallel.sharding_strategy) {
    case ShardingStrategy::kNoShard:
      return {1, 1, parallel.distributed_optimizer ? num_ranks : 1};
    case ShardingStrategy::kShardGradOp:
      return {1, num_ranks, num_ranks};
    case ShardingStrategy::kFullShard:
    case ShardingStrategy::kHybridShard:
      return {num_ranks, num_ranks, num_ranks};
  }
  return {};
}

StateMemory bytes_per_parameter(const Recipe& recipe) {
  constexpr int64_t kFp32 = 4;
  const DType dtype = recipe.precision.param_dtype;
  return {size_of(dtype), kFp32, 2 * kFp32 + (has_masters(recipe) ? kFp32 : 0)};
}

void add(StateMemory& memory, int64_t count, const Shards& shards, const StateMemory& bytes) {
  memory.parameters += ceil_div(count, shards.parameters) * bytes.parameters;
  memory.gradients += ceil_div(count, shards.gradients) * bytes.gradients;
  memory.optimizer += ceil_div(count, shards.optimizer) * bytes.optimizer;
}

}  // namespace

bool has_masters(const Recipe& recipe) {
  return recipe.precision.param_dtype != DType::kF32 &&
         recipe.trainer.precision != PrecisionPreset::kBF16True;
}

std::vector<StateMemory> state_memory(const ResolvedRecipe& resolved) {
  const Sizes& sizes = resolved.sizes;
  const ParallelConfig& parallel = resolved.recipe.parallel;
  const Shards dense = shards_over(parallel, sizes.dp_shard * sizes.cp);
  const Shards expert = shards_over(parallel, sizes.edp / sizes.dp_replicate);
  const StateMemory bytes = bytes_per_parameter(resolved.recipe);
  std::vector<StateMemory> stages;
  for (const ParamCount& count : params_per_rank(resolved.recipe.model, parallel, sizes)) {
    StateMemory& memory = stages.emplace_back();
    add(memory, count.dense, dense, bytes);
    add(memory, count.expert, expert, bytes);
  }
  return stages;
}

}  // namespace nemo
