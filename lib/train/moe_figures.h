// How evenly experts were used in a step, and what keeping them so costs.
#pragma once

#include <vector>

#include "lib/nn/router_state.h"

namespace nemo {

struct MoeFigures {
  double aux_loss;  // with its coefficient, summed over layers, mean of the micro batches
  double z_loss;    // likewise
  // Of each layer.
  std::vector<double> max_over_mean;  // the most choices of an expert over the mean
  std::vector<double> dropped;        // share of choices beyond capacity
  std::vector<double> entropy;        // of the router's softmax, nats, mean of the tokens
};

// totals: of the global batch, which had so many micro batches over all dp ranks.
MoeFigures moe_figures(const RouterState& routers, const MoeConfig& config,
                       int64_t num_microbatches);

}  // namespace nemo
