// The router of a mixture of experts: to which k of E experts each token goes, and with what
// weight. logits: [T, E]; indices: [T, k] int32, 1 <= k <= E; probs, dprobs: [T, k]; all else fp32
// too. p[t,e] = softmax of logits[t] over all E, lse[t] = log sum_e exp(logits[t,e]). T may be 0.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

// indices = the experts of the k largest logits of each token; with a bias ([E], else empty) those
// of the k largest p + bias, which is for choosing alone (Wang et al. 2024). Descending in what
// they are chosen by, of equal ones the lower expert first; distinct and below E even where logits
// are NaN. probs = softmax over the k chosen logits (Mixtral); with pre_softmax p of the chosen,
// which do not sum to 1.
void router_forward(Stream& stream, const Tensor& logits, const Tensor& bias, bool pre_softmax,
                    const Tensor& indices, const Tensor& probs);

// What auxiliary losses, balancing and reports are made of, in a fixed order of summation:
//   sums[e] += times e is chosen, sums[E + e] += sum_t p[t,e],
//   sums[2E] += sum_t lse[t]^2,   sums[2E + 1] += sum_t -sum_e p log p (the entropy, in nats)
// sums: [2E + 2] fp64.
void router_statistics(Stream& stream, const Tensor& logits, const Tensor& indices,
                       const Tensor& sums);

struct RouterBackward {
  Tensor logits, indices, probs, dprobs;
  bool pre_softmax;  // as in forward
  Tensor load;       // [E]: d loss / d sum_t p[t,e]; empty means none
  float z_scale;     // d loss / d sum_t lse[t]^2
};

// dlogits = gradient through probs + p[t,e] (load[e] - sum_i load[i] p[t,i])
//           + 2 z_scale lse[t] p[t,e]. It may alias logits.
void router_backward(Stream& stream, const RouterBackward& args, const Tensor& dlogits);

}  // namespace nemo::kernels
