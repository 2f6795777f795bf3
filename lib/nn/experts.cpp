#include "lib/nn/experts.h"

#include "kernels/grouped_matmul.h"
#include "kernels/swiglu.h"

namespace nemo {

Tensor Experts::forward(Context& ctx, const Tensor& x, const Tensor& scale,
                        const std::vector<int64_t>& offsets, Saved& saved) const {
  const Tensor up = ctx.weights.get(up_), down = ctx.weights.get(down_);
  saved = {x, scale,
           ctx.activation({x.size(0), div_exact(up.size(0), num_experts_)}, "experts.up_out")};
  kernels::grouped_matmul_forward(ctx.stream, x, up, offsets, saved.up_out);
  Tensor y = ctx.activation(x.shape(), "experts.y");
  kernels::grouped_matmul_forward(ctx.stream, activate(ctx, saved.up_out, scale), down, offsets, y);
  return y;
}

Tensor Experts::backward_input(Context& ctx, const Tensor& dy, std::vector<int64_t> offsets,
                               Saved saved, Deferred& deferred, const Tensor& dscale) const {
  const Tensor act = activate(ctx, saved.up_out, saved.scale);
  const Tensor dact = ctx.activation(act.shape(), "experts.dact");
  kernels::grouped_matmul_backward_input(ctx.stream, dy, ctx.weights.get(down_), offsets, dact);
  // In place: nobody reads up_out after this.
  const Tensor dup_out = saved.up_out;
  kernels::swiglu_backward(ctx.stream, dact, saved.up_out, saved.scale, dup_out, dscale);
  Tensor dx = ctx.activation(saved.x.shape(), "experts.dx");
  kernels::grouped_matmul_backward_input(ctx.stream, dup_out, ctx.weights.get(up_), offsets, dx);
  deferred = {saved.x, dup_out, act, dy, std::move(offsets)};
  return dx;
}

void Experts::backward_weight(Context& ctx, Deferred deferred) const {
  const GradTarget ddown = ctx.grads.target(down_);
  kernels::grouped_matmul_backward_weight(ctx.stream, deferred.dy, deferred.act, deferred.offsets,
                                          ddown.grad, ddown.accumulate);
  const GradTarget dup = ctx.grads.target(up_);
  kernels::grouped_matmul_backward_weight(ctx.stream, deferred.dup_out, deferred.x,
                                          deferred.offsets, dup.grad, dup.accumulate);
}

Tensor Experts::activate(Context& ctx, const Tensor& up_out, const Tensor& scale) const {
  Tensor act = ctx.activation({up_out.size(0), up_out.size(1) / 2}, "experts.act");
  kernels::swiglu_forward(ctx.stream, up_out, scale, act);
  return act;
}

}  // namespace nemo
