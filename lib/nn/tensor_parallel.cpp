#include "lib/nn/tensor_parallel.h"

#include "lib/core/math.h"

namespace nemo {
namespace {

Tensor gather(Context& ctx, const Tensor& rows, const char* label) {
  if (!ctx.sequence_parallel) return rows;
  Communicator& tp = ctx.mesh[Axis::kTp];
  Tensor all = ctx.activation({rows.size(0) * tp.size(), rows.size(1)}, "tp.gathered");
  tp.all_gather(rows, all, label).wait(ctx.stream);
  return all;
}

void reduce(Context& ctx, const Tensor& all, const Tensor& rows, const char* label) {
  Communicator& tp = ctx.mesh[Axis::kTp];
  if (ctx.sequence_parallel) {
    tp.reduce_scatter(all, rows, ReduceOp::kSum, label).wait(ctx.stream);
    return;
  }
  NEMO_CHECK(rows.raw() == all.raw(), "[{}] an all-reduce is in place", label);
  tp.all_reduce(all, ReduceOp::kSum, label).wait(ctx.stream);
}

Tensor reduce(Context& ctx, const Tensor& all, const char* label) {
  Tensor rows = all;
  if (ctx.sequence_parallel)
    rows = ctx.activation(
        {div_exact<int64_t>(all.size(0), ctx.mesh[Axis::kTp].size()), all.size(1)}, "tp.rows");
  reduce(ctx, all, rows, label);
  return rows;
}

}  // namespace

Tensor enter_tp(Context& ctx, const Tensor& x) {
  return gather(ctx, x, "enter_tp");
}

Tensor enter_tp_backward(Context& ctx, const Tensor& dx) {
  return reduce(ctx, dx, "enter_tp_backward");
}

void enter_tp_backward(Context& ctx, const Tensor& dx, const Tensor& rows) {
  reduce(ctx, dx, rows, "enter_tp_backward");
}

Tensor exit_tp(Context& ctx, const Tensor& y) {
  return reduce(ctx, y, "exit_tp");
}

Tensor exit_tp_backward(Context& ctx, const Tensor& dy) {
  return gather(ctx, dy, "exit_tp_backward");
}

}  // namespace nemo
