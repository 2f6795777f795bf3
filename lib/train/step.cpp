#include "lib/train/step.h"

#include "kernels/elementwise.h"

namespace nemo {

StepTotals run_step(Context& ctx, const ParallelModel& model, const MicroBatches& batches,
                    int32_t stop_signal) {
  kernels::fill(ctx.stream, ctx.loss_sum, 0);
  if (model.routers) kernels::fill(ctx.stream, model.routers->totals, 0);
  model.pipeline->train(ctx, batches);
  model.state->grads().finish();
  model.grads->sum_replicas();
  Work wish =
      ctx.mesh.world().all_reduce(Tensor(&stop_signal, DType::kI32, {1}), ReduceOp::kMax, "stop");
  share_loss(ctx);
  if (model.routers)
    ctx.mesh.world().all_reduce(model.routers->totals, ReduceOp::kSum, "routers").wait(ctx.stream);
  wish.wait(ctx.stream);
  return {model.grads->norm(), stop_signal};
}

void share_loss(Context& ctx) {
  ctx.mesh.dp_cp().all_reduce(ctx.loss_sum, ReduceOp::kSum, "loss").wait(ctx.stream);
  ctx.mesh[Axis::kPp].all_reduce(ctx.loss_sum, ReduceOp::kSum, "loss").wait(ctx.stream);
}

}  // namespace nemo
