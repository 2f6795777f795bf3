// A number for each expert: not worth a team.
#include "kernels/router_balance.h"

namespace nemo::kernels::NEMO_CPU_ISA {

void router_load(Stream&, const Tensor& sums, const RouterLoad& args, const Tensor& load,
                 const Tensor& loss) {
  const int64_t num_experts = load.size(0);
  const double* counts = sums.data<double>();
  const double* probabilities = counts + num_experts;
  const double tokens = static_cast<double>(args.num_tokens);
  const double scale = args.coeff * static_cast<double>(num_experts) /
                       (tokens * static_cast<double>(args.top_k) * tokens);
  double sum = 0;
  for (int64_t e = 0; e < num_experts; ++e) {
    sum += counts[e] * probabilities[e];
    load.data<float>()[e] = static_cast<float>(args.weight * scale * counts[e]);
  }
  loss.data<double>()[0] += scale * sum / static_cast<double>(args.num_peers);
}

void router_update_bias(Stream&, const Tensor& totals, float rate, const Tensor& bias) {
  const int64_t num_experts = bias.size(1);
  for (int64_t layer = 0; layer < bias.size(0); ++layer) {
    const double* counts = totals.data<double>() + layer * totals.size(1);
    float* row = bias.data<float>() + layer * num_experts;
    double sum = 0;
    for (int64_t e = 0; e < num_experts; ++e) sum += counts[e];
    const double mean = sum / static_cast<double>(num_experts);
    for (int64_t e = 0; e < num_experts; ++e)
      row[e] += counts[e] < mean ? rate : counts[e] > mean ? -rate : 0.0f;
  }
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
