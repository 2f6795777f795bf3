#include "lib/nn/router.h"

#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "kernels/router.h"
#include "kernels/router_balance.h"

namespace nemo {

void Router::forward(Context& ctx, const Tensor& x, Saved& saved) const {
  const int64_t rows = x.size(0);
  saved.x = x;
  saved.logits = ctx.activation({rows, config_.num_experts}, "router.logits", DType::kF32);
  kernels::matmul_forward(ctx.stream, x, ctx.weights.get(weight_), {}, saved.logits);
  saved.indices = ctx.activation({rows, config_.top_k}, "router.indices", DType::kI32);
  saved.probs = ctx.activation({rows, config_.top_k}, "router.probs", DType::kF32);
  kernels::router_forward(ctx.stream, saved.logits, ctx.routers->bias_of(config_.layer),
                          config_.pre_softmax, saved.indices, saved.probs);
  if (ctx.training) saved.load = count(ctx, saved);
}

Tensor Router::backward_input(Context& ctx, const Tensor& dprobs, Saved saved,
                              Deferred& deferred) const {
  const float z_scale = static_cast<float>(config_.z_loss_coeff * ctx.aux_loss_weight /
                                           static_cast<double>(num_tokens(ctx, saved.x.size(0))));
  const Tensor dlogits = ctx.activation(saved.logits.shape(), "router.dlogits", DType::kF32);
  kernels::router_backward(ctx.stream,
                           {.logits = saved.logits,
                            .indices = saved.indices,
                            .probs = saved.probs,
                            .dprobs = dprobs,
                            .pre_softmax = config_.pre_softmax,
                            .load = saved.load,
                            .z_scale = z_scale},
                           dlogits);
  deferred = {saved.x, dlogits};
  Tensor dx = ctx.activation(saved.x.shape(), "router.dx");
  kernels::matmul_backward_input(ctx.stream, dlogits, ctx.weights.get(weight_), dx);
  return dx;
}

void Router::backward_weight(Context& ctx, Deferred deferred) const {
  const GradTarget dweight = ctx.grads.target(weight_);
  kernels::matmul_backward_weight(ctx.stream, deferred.dlogits, deferred.x, dweight.grad,
                                  dweight.accumulate);
}

Tensor Router::count(Context& ctx, const Saved& saved) const {
  const Tensor totals = ctx.routers->totals_of(config_.layer);
  if (config_.aux_loss_coeff == 0) {
    kernels::router_statistics(ctx.stream, saved.logits, saved.indices, totals);
    return {};
  }
  const Tensor sums = ctx.stream.workspace(DType::kF64, totals.shape(), "router.sums");
  kernels::fill(ctx.stream, sums, 0);
  kernels::router_statistics(ctx.stream, saved.logits, saved.indices, sums);
  kernels::add(ctx.stream, totals, sums, totals);
  Communicator& peers = ctx.mesh.tp_cp();
  peers.all_reduce(sums, ReduceOp::kSum, "router").wait(ctx.stream);
  Tensor load = ctx.activation({config_.num_experts}, "router.load", DType::kF32);
  kernels::router_load(ctx.stream, sums,
                       {.num_tokens = num_tokens(ctx, saved.x.size(0)),
                        .top_k = config_.top_k,
                        .coeff = config_.aux_loss_coeff,
                        .weight = ctx.aux_loss_weight,
                        .num_peers = peers.size()},
                       load, ctx.routers->aux_of(config_.layer));
  return load;
}

int64_t Router::num_tokens(const Context& ctx, int64_t rows) const {
  return rows * ctx.mesh.tp_cp().size();
}

}  // namespace nemo
