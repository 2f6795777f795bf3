#include "lib/parallel/parameter_state.h"

#include <algorithm>

#include "lib/core/philox.h"
#include "lib/model/state_memory.h"
#include "lib/parallel/sharded_grads.h"
#include "lib/parallel/sharded_weights.h"
#include "lib/parallel/whole_grads.h"
#include "lib/parallel/whole_weights.h"

namespace nemo {
namespace {

StateGroups groups_for(const ParallelConfig& parallel, const DeviceMesh& mesh) {
  if (parallel.sharding_strategy == ShardingStrategy::kNoShard && !parallel.distributed_optimizer)
    return {{&mesh.alone(), &mesh.dp_cp()}, {&mesh.alone(), &mesh[Axis::kEdp]}};
  return {{&mesh.dp_shard_cp(), &mesh[Axis::kDpReplicate]},
          {&mesh[Axis::kEdpShard], &mesh[Axis::kDpReplicate]}};
}

bool shards_grads(const ParallelConfig& parallel) {
  return parallel.sharding_strategy != ShardingStrategy::kNoShard;
}

bool shards_weights(const ParallelConfig& parallel) {
  return shards_grads(parallel) && parallel.sharding_strategy != ShardingStrategy::kShardGradOp;
}

}  // namespace

ParameterState::ParameterState(Stream& stream, Stream& home, const ParamSet& params,
                               const Recipe& recipe, const DeviceMesh& mesh)
    : groups_(groups_for(recipe.parallel, mesh)),
      layout_(params, {groups_.dense.shard->size(), groups_.experts.shard->size()},
              shards_grads(recipe.parallel) ? 0 : recipe.parallel.bucket_size_mb * 1e6) {
  const ParallelConfig& parallel = recipe.parallel;
  const WeightOptions weights = {.dtype = recipe.precision.param_dtype,
                                 .masters = has_masters(recipe),
                                 .overlap = parallel.overlap_param_gather};
  const GradOptions options = {.reduce_dtype = recipe.precision.reduce_dtype,
                               .overlap = parallel.overlap_grad_reduce,
                               .as_bucket_view = parallel.gradient_as_bucket_view};
  if (shards_weights(parallel))
    weights_ = std::make_unique<ShardedWeights>(stream, home, params, layout_, groups_, weights);
  else
    weights_ = std::make_unique<WholeWeights>(stream, home, params, layout_, groups_, weights);
  if (shards_grads(parallel))
    grads_ = std::make_unique<ShardedGrads>(stream, home, params, layout_, groups_, options);
  else
    grads_ = std::make_unique<WholeGrads>(stream, home, params, layout_, groups_, options);

  for (ParamId id = 0; id < params.num_params(); ++id) {
    const auto& [index, piece] = layout_.place(id);
    const FlatBucket& bucket = layout_.buckets()[index];
    const Range mine = bucket.shard(groups_.of(bucket.experts).shard->rank());
    const int64_t begin = std::max(mine.begin, piece.first);
    const int64_t end = std::min(mine.end, piece.first + piece.numel);
    if (begin >= end) continue;
    const auto range_of = [&](const Tensor& shard) {
      return shard.slice(0, begin - mine.begin, end - mine.begin);
    };
    ranges_.push_back({range_of(weights_->updated(index)), range_of(grads_->shard(index)),
                       params[id].decay, id, begin - piece.first, hash_name(params[id].name)});
  }
}

}  // namespace nemo
