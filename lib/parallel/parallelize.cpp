#include "lib/parallel/parallelize.h"

#include "lib/model/param_count.h"

namespace nemo {

ParallelModel parallelize(const Recipe& recipe, const DeviceMesh& mesh, Stream& stream,
                          Stream& host) {
  const DataConfig& data = recipe.data;
  const int64_t num_microbatches =
      div_exact(data.global_batch_size, data.micro_batch_size * mesh[Axis::kDp].size());
  ParallelModel result;
  // 1. What this rank holds of each logical tensor.
  result.sharding =
      std::make_unique<Sharding>(recipe, ShardingRank{.tp = mesh.coordinate(Axis::kTp),
                                                      .etp = mesh.coordinate(Axis::kEtp),
                                                      .ep = mesh.coordinate(Axis::kEp)});
  // 2. Its layers, with the parameters they declare.
  Model model = build_model(
      recipe.model, recipe.data.seq_length,
      chunks_of_rank(recipe.model, recipe.parallel, mesh.coordinate(Axis::kPp)), *result.sharding,
      stream.arena(), recipe.parallel.recompute, recipe.precision.buffer_dtype);
  result.params = std::make_unique<ParamSet>(std::move(model.params));
  // 3. Where weights and gradients live, and how gradients are reduced: over dp x cp, because cp
  //    peers hold the same weights and see other tokens; those of experts over edp.
  Stream& home = recipe.parallel.cpu_offload ? host : stream;
  result.state = std::make_unique<ParameterState>(stream, home, *result.params, recipe, mesh);
  // 4. What ranks of one model hold alike: its gradients summed where each computed a part, counted
  //    once.
  result.grads = std::make_unique<LogicalGrads>(stream, *result.params, *result.sharding,
                                                *result.state, mesh, recipe.model.tie_embeddings);
  // 5. The layers as chunks of a pipeline, which may be of one rank.
  result.pipeline =
      std::make_unique<Pipeline>(std::move(model.chunks), recipe, num_microbatches, mesh);
  // 6. The optimizer, over what this rank updates, and what routers keep beside weights.
  result.optimizer = std::make_unique<AdamW>(home, recipe.optim, result.state->ranges(),
                                             static_cast<uint64_t>(recipe.trainer.seed));
  if (recipe.model.moe.num_experts > 0) result.routers = make_router_state(stream, recipe.model);
  return result;
}

}  // namespace nemo
