#include "lib/nn/linear.h"

#include "kernels/matmul.h"

namespace nemo {

Tensor Linear::forward(Context& ctx, const Tensor& x, Saved& saved) const {
  const Tensor weight = ctx.weights.get(weight_);
  const Tensor bias = bias_ == kNoParam ? Tensor() : ctx.weights.get(bias_);
  Tensor y = ctx.activation({x.size(0), weight.size(0)}, "linear.y");
  kernels::matmul_forward(ctx.stream, x, weight, bias, y);
  saved = {x};
  return y;
}

Tensor Linear::backward_input(Context& ctx, const Tensor& dy, Saved saved,
                              Deferred& deferred) const {
  const Tensor weight = ctx.weights.get(weight_);
  Tensor dx = ctx.activation({dy.size(0), weight.size(1)}, "linear.dx");
  kernels::matmul_backward_input(ctx.stream, dy, weight, dx);
  deferred = {saved.x, dy};
  return dx;
}

void Linear::backward_weight(Context& ctx, Deferred deferred) const {
  const GradTarget dweight = ctx.grads.target(weight_);
  kernels::matmul_backward_weight(ctx.stream, deferred.dy, deferred.x, dweight.grad,
                                  dweight.accumulate);
  if (bias_ == kNoParam) return;
  const GradTarget dbias = ctx.grads.target(bias_);
  kernels::bias_backward(ctx.stream, deferred.dy, dbias.grad, dbias.accumulate);
}

}  // namespace nemo
