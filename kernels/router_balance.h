// What keeps the load of experts even, from counts: the weights of an auxiliary loss, and a bias
// that chooses. sums: as router_statistics leaves them, counts and probabilities of E experts
// first.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

struct RouterLoad {
  int64_t num_tokens;  // that sums is of
  int64_t top_k;
  double coeff;       // of the auxiliary loss
  double weight;      // of what is differentiated
  int64_t num_peers;  // that compute the same
};

// The loss coeff * E * sum_e f_e P_e, with f_e = sums[e] / (T top_k) and P_e = sums[E + e] / T
// (Fedus et al. 2022), and what it makes of the gradient of sum_t p[t,e]:
//   load[e] = weight * coeff * E * f_e / T        loss[0] += coeff * E * sum_e f_e P_e / num_peers
// sums: [2E + 2] fp64, load: [E] fp32, loss: [1] fp64.
void router_load(Stream& stream, const Tensor& sums, const RouterLoad& args, const Tensor& load,
                 const Tensor& loss);

// bias[l,e] += rate * sign(mean of totals[l, 0 … E) - totals[l,e]) (Wang et al. 2024).
// totals: [layers, any] fp64, bias: [layers, E] fp32.
void router_update_bias(Stream& stream, const Tensor& totals, float rate, const Tensor& bias);

}  // namespace nemo::kernels
