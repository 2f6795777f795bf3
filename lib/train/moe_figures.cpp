#include "lib/train/moe_figures.h"

#include <algorithm>
#include <numeric>

namespace nemo {

MoeFigures moe_figures(const RouterState& routers, const MoeConfig& config,
                       int64_t num_microbatches) {
  MoeFigures figures{};
  for (int64_t layer = 0; layer < routers.totals.size(0); ++layer) {
    const double* sums = routers.totals_of(layer).data<double>();
    const double* counts_end = sums + config.num_experts;
    const double num_choices = std::accumulate(sums, counts_end, 0.0);
    const double num_tokens = num_choices / static_cast<double>(config.top_k);
    const double mean = num_choices / static_cast<double>(config.num_experts);
    figures.max_over_mean.push_back(*std::max_element(sums, counts_end) / mean);
    figures.dropped.push_back(item<double>(routers.dropped_of(layer)) / num_choices);
    figures.z_loss += config.z_loss_coeff * sums[2 * config.num_experts] / num_tokens;
    figures.entropy.push_back(sums[2 * config.num_experts + 1] / num_tokens);
    figures.aux_loss += item<double>(routers.aux_of(layer)) / static_cast<double>(num_microbatches);
  }
  return figures;
}

}  // namespace nemo
