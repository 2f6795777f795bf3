#include "lib/train/predict_memory.h"

#include <algorithm>

#include "lib/comm/record/record_communicator.h"
#include "lib/core/math.h"
#include "lib/parallel/parallelize.h"
#include "lib/train/batch_buffers.h"

namespace nemo {

namespace {

// The recipe with a step as short as shows all that its schedule comes to.
Recipe shortened(const ResolvedRecipe& run) {
  Recipe recipe = run.recipe;
  const PipelineShape shape = pipeline_shape(recipe.parallel, run.sizes.num_microbatches);
  const PipelineShape shorter = repetition(recipe.parallel.pp_schedule, shape).shortened;
  recipe.data.global_batch_size =
      shorter.num_microbatches * recipe.data.micro_batch_size * run.sizes.dp;
  return recipe;
}

}  // namespace

MemoryReport predict_memory(const ResolvedRecipe& run, int rank) {
  const Recipe recipe = shortened(run);
  Arena arena(Device{DeviceKind::kRecord}, Arena::kUnlimited);
  Stream stream(arena, narrow<int>(recipe.trainer.threads_per_rank), detect_cpu_isa());
  RecordCommunicator world("world", rank, narrow<int>(run.sizes.world));
  const DeviceMesh mesh(world, Grid(run.sizes));
  ParallelModel model = parallelize(recipe, mesh, stream);
  const BatchBuffers buffers(arena, recipe.data.micro_batch_size, recipe.data.seq_length);
  const MicroBatch& batch = buffers.batch();
  Context ctx = {.stream = stream,
                 .weights = *model.state,
                 .grads = *model.state,
                 .mesh = mesh,
                 .sequence_parallel = recipe.parallel.sequence_parallel,
                 .loss_sum = Tensor(arena, DType::kF64, {1}, MemoryCategory::kWorkspace, "loss")};
  model.pipeline->train(ctx, [&](int64_t) -> const MicroBatch& { return batch; });
  return arena.report();
}

int64_t predict_peak_memory(const ResolvedRecipe& run) {
  const Grid grid(run.sizes);
  int64_t peak = 0;
  for (int64_t rank = 0; rank < grid.world(); ++rank)
    if (grid.coordinate(Axis::kDp, rank) == 0 && grid.coordinate(Axis::kCp, rank) == 0)
      peak = std::max(peak, predict_memory(run, narrow<int>(rank)).peak_total);
  return peak;
}

}  // namespace nemo
