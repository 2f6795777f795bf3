#include "lib/nn/moe.h"

#include "kernels/elementwise.h"
#include "lib/nn/expert_parallel.h"

namespace nemo {
namespace {

// One number for each choice, as rows that travel.
Tensor by_choice(const Tensor& x) {
  return x.view({x.numel(), 1});
}

}  // namespace

Tensor Moe::forward(Context& ctx, const MicroBatch& batch, const Tensor& x, Saved& saved) const {
  router_.forward(ctx, x, saved.router);
  saved.routes = make_routes(ctx, batch, saved.router.indices, routes_);
  const Routes& routes = saved.routes;
  const Tensor rows = enter_experts(ctx, routes, x, routes.sent_token);
  const Tensor scale =
      enter_experts(ctx, routes, by_choice(saved.router.probs), routes.sent_choice);
  const Tensor y =
      experts_.forward(ctx, rows, scale.view({scale.numel()}), routes.offsets, saved.experts);
  return exit_experts(ctx, routes, y, routes.place);
}

Tensor Moe::backward_input(Context& ctx, const MicroBatch&, const Tensor& dy, Saved saved,
                           Deferred& deferred) const {
  Routes& routes = saved.routes;
  const Tensor drows_out = enter_experts(ctx, routes, dy, routes.sent_token);
  const Tensor dscale = ctx.activation({routes.num_rows()}, "moe.dscale", DType::kF32);
  const Tensor drows = experts_.backward_input(ctx, drows_out, routes.offsets,
                                               std::move(saved.experts), deferred.experts, dscale);
  const Tensor dprobs = exit_experts(ctx, routes, by_choice(dscale), by_choice(routes.place));
  Tensor dx = exit_experts(ctx, routes, drows, routes.place);
  const Tensor drouter = router_.backward_input(ctx, dprobs.view(saved.router.probs.shape()),
                                                std::move(saved.router), deferred.router);
  kernels::add(ctx.stream, dx, drouter, dx);
  return dx;
}

void Moe::backward_weight(Context& ctx, Deferred deferred) const {
  experts_.backward_weight(ctx, std::move(deferred.experts));
  router_.backward_weight(ctx, std::move(deferred.router));
}

void Moe::drop(Context& ctx, Saved& saved) const {
  saved.router.x = {};
  if (experts_are_here(ctx)) saved.experts.x = {};
}

void Moe::restore(Context& ctx, const MicroBatch&, const Tensor& x, Saved& saved) const {
  saved.router.x = x;
  if (experts_are_here(ctx))
    saved.experts.x = enter_experts(ctx, saved.routes, x, saved.routes.sent_token);
}

}  // namespace nemo
