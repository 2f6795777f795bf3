#include "lib/parallel/parallelize.h"

#include "lib/parallel/data_parallel.h"

namespace nemo {

ParallelModel parallelize(const Recipe& recipe, const DeviceMesh& mesh, Stream& stream) {
  ParallelModel result;
  // 1. What this rank holds of each logical tensor.
  result.sharding = std::make_unique<Sharding>(recipe, mesh.coordinate(Axis::kTp));
  // 2. Its layers, with the parameters they declare.
  Model model = build_model(recipe.model, recipe.data.seq_length,
                            {0, num_model_layers(recipe.model)}, *result.sharding, stream.arena());
  result.params = std::make_unique<ParamSet>(std::move(model.params));
  // 3. Where weights and gradients live, and how gradients are reduced: over dp x cp, because cp
  //    peers hold the same weights and see other tokens.
  result.state = std::make_unique<DataParallel>(
      stream, *result.params, mesh.dp_cp(),
      DataParallelOptions{.bucket_size_mb = recipe.parallel.bucket_size_mb,
                          .overlap_grad_reduce = recipe.parallel.overlap_grad_reduce,
                          .gradient_as_bucket_view = recipe.parallel.gradient_as_bucket_view});
  // 4. What tp ranks hold alike: its gradients summed where each computed a part, counted once.
  result.grads = std::make_unique<LogicalGrads>(stream, *result.params, *result.sharding,
                                                result.state->ranges(), mesh);
  // 5. The layers as a pipeline stage: one micro batch in flight where there is one stage.
  result.stage = std::make_unique<Stage>(std::move(model.layers), 1);
  // 6. The optimizer, over what this rank updates.
  result.optimizer = std::make_unique<AdamW>(stream, recipe.optim, result.state->ranges());
  return result;
}

}  // namespace nemo
