#include "lib/nn/router_state.h"

#include "kernels/elementwise.h"
#include "kernels/router_balance.h"

namespace nemo {

RouterState make_router_state(Stream& stream, const ModelConfig& model) {
  RouterState state{model.moe.num_experts, {}, {}};
  state.totals = Tensor(stream.arena(), DType::kF64, {model.num_layers, state.num_statistics() + 2},
                        MemoryCategory::kWorkspace, "router.totals");
  kernels::fill(stream, state.totals, 0);
  if (model.moe.router_bias_update_rate == 0) return state;
  state.bias = Tensor(stream.arena(), DType::kF32, {model.num_layers, state.num_experts},
                      MemoryCategory::kOptimizer, "router.bias");
  kernels::fill(stream, state.bias, 0);
  return state;
}

void update_router_bias(Stream& stream, const RouterState& state, const MoeConfig& config) {
  if (!state.bias) return;
  kernels::router_update_bias(stream, state.totals,
                              static_cast<float>(config.router_bias_update_rate), state.bias);
}

}  // namespace nemo
