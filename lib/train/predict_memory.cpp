#include "lib/train/predict_memory.h"

#include <chrono>

#include "lib/comm/shared/thread_world.h"
#include "lib/core/math.h"
#include "lib/parallel/parallelize.h"
#include "lib/train/batch_buffers.h"

namespace nemo {

MemoryReport predict_memory(const Recipe& recipe) {
  Arena arena(Device{DeviceKind::kRecord}, Arena::kUnlimited);
  Stream stream(arena, narrow<int>(recipe.trainer.threads_per_rank), detect_cpu_isa());
  // Every rank of a replicated layout holds what a rank alone holds.
  ThreadWorld world(1, std::chrono::seconds(1));
  const std::unique_ptr<Communicator> alone = world.communicator(0);
  const DeviceMesh mesh(*alone, Grid(Sizes{}));
  ParallelModel model = parallelize(recipe, mesh, stream);
  const BatchBuffers buffers(arena, recipe.data.micro_batch_size, recipe.data.seq_length);
  const MicroBatch& batch = buffers.batch();
  Context ctx = {.stream = stream,
                 .weights = *model.state,
                 .grads = *model.state,
                 .loss_sum = Tensor(arena, DType::kF64, {1}, MemoryCategory::kWorkspace, "loss")};
  model.stage->forward(ctx, batch, {}, 0);
  model.stage->backward(ctx, batch, {}, 0, true);
  return arena.report();
}

}  // namespace nemo
