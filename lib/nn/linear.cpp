#include "lib/nn/linear.h"

#include "kernels/matmul.h"
#include "lib/nn/tensor_parallel.h"

namespace nemo {
namespace {

Tensor product(Context& ctx, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  Tensor y = ctx.activation({x.size(0), weight.size(0)}, "linear.y");
  kernels::matmul_forward(ctx.stream, x, weight, bias, y);
  return y;
}

Tensor product_backward(Context& ctx, const Tensor& dy, const Tensor& weight) {
  Tensor dx = ctx.activation({dy.size(0), weight.size(1)}, "linear.dx");
  kernels::matmul_backward_input(ctx.stream, dy, weight, dx);
  return dx;
}

void add_gradients(Context& ctx, ParamId weight, ParamId bias, const Tensor& x, const Tensor& dy) {
  const GradTarget dweight = ctx.grads.target(weight);
  kernels::matmul_backward_weight(ctx.stream, dy, x, dweight.grad, dweight.accumulate);
  if (bias == kNoParam) return;
  const GradTarget dbias = ctx.grads.target(bias);
  kernels::bias_backward(ctx.stream, dy, dbias.grad, dbias.accumulate);
}

}  // namespace

Tensor ColumnLinear::forward(Context& ctx, const Tensor& x, Saved& saved) const {
  const Tensor bias = bias_ == kNoParam ? Tensor() : ctx.weights.get(bias_);
  saved = {x};
  return product(ctx, enter_tp(ctx, x), ctx.weights.get(weight_), bias);
}

Tensor ColumnLinear::backward_input(Context& ctx, const Tensor& dy, Saved saved,
                                    Deferred& deferred) const {
  deferred = {saved.x, dy};
  return enter_tp_backward(ctx, product_backward(ctx, dy, ctx.weights.get(weight_)));
}

void ColumnLinear::backward_weight(Context& ctx, Deferred deferred) const {
  add_gradients(ctx, weight_, bias_, enter_tp(ctx, deferred.x), deferred.dy);
}

Tensor RowLinear::forward(Context& ctx, const Tensor& x, Saved& saved) const {
  const bool adds_bias = bias_ != kNoParam && ctx.mesh[Axis::kTp].rank() == 0;
  const Tensor bias = adds_bias ? ctx.weights.get(bias_) : Tensor();
  saved = {x};
  return exit_tp(ctx, product(ctx, x, ctx.weights.get(weight_), bias));
}

Tensor RowLinear::backward_input(Context& ctx, const Tensor& dy, Saved saved,
                                 Deferred& deferred) const {
  deferred = {saved.x, exit_tp_backward(ctx, dy)};
  return product_backward(ctx, deferred.dy, ctx.weights.get(weight_));
}

void RowLinear::backward_weight(Context& ctx, Deferred deferred) const {
  add_gradients(ctx, weight_, bias_, deferred.x, deferred.dy);
}

}  // namespace nemo
