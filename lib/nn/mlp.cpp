#include "lib/nn/mlp.h"

#include "kernels/gelu.h"
#include "kernels/swiglu.h"

namespace nemo {
namespace {

kernels::Gelu gelu_kind(Activation activation) {
  return activation == Activation::kGeluTanh ? kernels::Gelu::kTanh : kernels::Gelu::kExact;
}

}  // namespace

Tensor Mlp::forward(Context& ctx, const MicroBatch&, const Tensor& x, Saved& saved) const {
  saved.up_out = up_.forward(ctx, x, saved.up);
  return down_.forward(ctx, activate(ctx, saved.up_out), saved.down);
}

Tensor Mlp::backward_input(Context& ctx, const MicroBatch&, const Tensor& dy, Saved saved,
                           Deferred& deferred) const {
  const Tensor dact = down_.backward_input(ctx, dy, std::move(saved.down), deferred.down);
  const Tensor dup_out = activate_backward(ctx, dact, saved.up_out);
  return up_.backward_input(ctx, dup_out, std::move(saved.up), deferred.up);
}

void Mlp::backward_weight(Context& ctx, Deferred deferred) const {
  down_.backward_weight(ctx, std::move(deferred.down));
  up_.backward_weight(ctx, std::move(deferred.up));
}

void Mlp::drop(Context&, Saved& saved) const {
  saved.up = {};
  saved.down = {};
}

void Mlp::restore(Context& ctx, const MicroBatch&, const Tensor& x, Saved& saved) const {
  saved.up = {x};
  saved.down = {activate(ctx, saved.up_out)};
}

Tensor Mlp::activate(Context& ctx, const Tensor& up_out) const {
  const bool gated = activation_ == Activation::kSwiglu;
  Tensor act = ctx.activation({up_out.size(0), up_out.size(1) / (gated ? 2 : 1)}, "mlp.act");
  if (gated)
    kernels::swiglu_forward(ctx.stream, up_out, Tensor(), act);
  else
    kernels::gelu_forward(ctx.stream, up_out, gelu_kind(activation_), act);
  return act;
}

// In place: nobody reads up_out after this.
Tensor Mlp::activate_backward(Context& ctx, const Tensor& dact, const Tensor& up_out) const {
  if (activation_ == Activation::kSwiglu) {
    kernels::swiglu_backward(ctx.stream, dact, up_out, Tensor(), up_out, Tensor());
    return up_out;
  }
  kernels::gelu_backward(ctx.stream, dact, up_out, gelu_kind(activation_), dact);
  return dact;
}

}  // namespace nemo
