#include "lib/nn/norm.h"

#include "kernels/layernorm.h"
#include "kernels/rmsnorm.h"

namespace nemo {

Tensor Norm::forward(Context& ctx, const Tensor& x, Saved& saved) const {
  saved.x = x;
  return normalise(ctx, x, nullptr, saved);
}

Tensor Norm::forward_add(Context& ctx, const Tensor& x, const Tensor& delta, Saved& saved) const {
  saved.x = ctx.activation(x.shape(), "norm.sum");
  return normalise(ctx, x, &delta, saved);
}

void Norm::drop(Saved& saved) const {
  saved.mean = {};
  saved.rstd = {};
}

Tensor Norm::normalise(Context& ctx, const Tensor& x, const Tensor* delta, Saved& saved) const {
  const Tensor weight = ctx.weights.get(weight_);
  Tensor y = ctx.activation(x.shape(), "norm.y");
  saved.rstd = ctx.activation({x.size(0)}, "norm.rstd", DType::kF32);
  if (kind_ == NormKind::kRms) {
    if (delta)
      kernels::add_rmsnorm_forward(ctx.stream, x, *delta, weight, eps_, saved.x, y, saved.rstd);
    else
      kernels::rmsnorm_forward(ctx.stream, x, weight, eps_, y, saved.rstd);
    return y;
  }
  const Tensor bias = ctx.weights.get(bias_);
  saved.mean = ctx.activation({x.size(0)}, "norm.mean", DType::kF32);
  if (delta)
    kernels::add_layernorm_forward(ctx.stream, x, *delta, weight, bias, eps_, saved.x, y,
                                   saved.mean, saved.rstd);
  else
    kernels::layernorm_forward(ctx.stream, x, weight, bias, eps_, y, saved.mean, saved.rstd);
  return y;
}

Tensor Norm::backward_input(Context& ctx, const Tensor& dy, const Tensor& dresidual, Saved saved,
                            Deferred&) const {
  const Tensor weight = ctx.weights.get(weight_);
  const GradTarget dweight = ctx.grads.target(weight_);
  Tensor dx = ctx.activation(dy.shape(), "norm.dx");
  if (kind_ == NormKind::kRms) {
    kernels::rmsnorm_backward(ctx.stream, dy, saved.x, weight, saved.rstd, dresidual, dx,
                              dweight.grad, dweight.accumulate);
    return dx;
  }
  const GradTarget dbias = ctx.grads.target(bias_);
  kernels::layernorm_backward(ctx.stream, {.dy = dy,
                                           .x = saved.x,
                                           .weight = weight,
                                           .mean = saved.mean,
                                           .rstd = saved.rstd,
                                           .dresidual = dresidual,
                                           .dx = dx,
                                           .dweight = dweight.grad,
                                           .dbias = dbias.grad,
                                           .accumulate_dweight = dweight.accumulate,
                                           .accumulate_dbias = dbias.accumulate});
  return dx;
}

void Norm::backward_weight(Context&, Deferred) const {}

}  // namespace nemo
