// What the routers of all layers keep across the micro batches of a step. A rank fills the rows of
// the layers it has; every row holds the same columns on every rank.
#pragma once

#include "lib/device/stream.h"
#include "lib/recipe/schema.h"

namespace nemo {

struct RouterState {
  int64_t num_experts;
  // [num_layers, 2 E + 4] fp64, sums over this rank's tokens since the step began: as
  // kernels::router_statistics (choices of each expert, softmax probability of each, squares of the
  // log-sum-exp, entropy), then its share of the aux losses, then choices dropped.
  Tensor totals;
  // [num_layers, E] fp32, added to the probabilities that choose; empty without.
  Tensor bias;

  int64_t num_statistics() const { return 2 * num_experts + 2; }
  Tensor totals_of(int64_t layer) const { return columns(layer, 0, num_statistics()); }
  Tensor aux_of(int64_t layer) const {
    return columns(layer, num_statistics(), num_statistics() + 1);
  }
  Tensor dropped_of(int64_t layer) const {
    return columns(layer, num_statistics() + 1, num_statistics() + 2);
  }
  Tensor bias_of(int64_t layer) const { return bias ? bias.at(layer) : Tensor(); }

 private:
  Tensor columns(int64_t layer, int64_t begin, int64_t end) const {
    return totals.at(layer).slice(0, begin, end);
  }
};

// Nothing counted, no bias yet.
RouterState make_router_state(Stream& stream, const ModelConfig& model);

// Once a step, from totals of the global batch: towards experts chosen less than the mean (Wang et
// al. 2024). Nothing where there is no bias.
void update_router_bias(Stream& stream, const RouterState& state, const MoeConfig& config);

}  // namespace nemo
