// AdamW (Loshchilov & Hutter 2019) on a flat range, decay decoupled and applied before the update.
//   g = grad_scale * grad        m = beta1 m + (1 - beta1) g        v = beta2 v + (1 - beta2) g^2
//   p = p * (1 - lr * weight_decay) - lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps)
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

struct AdamWStep {
  float lr, beta1, beta2, eps, weight_decay;
  int64_t step;      // t, from 1
  float grad_scale;  // clipping and loss scale
  // A param in bf16 is rounded to one of its two neighbours, to the nearer with the greater
  // probability, so that the mean of many small updates is kept: element i by 16 bits of word
  // (first + i) % 4 of philox(rounding_key, (first + i) / 4, rounding_stream).
  uint64_t rounding_key = 0, rounding_stream = 0;
  int64_t first = 0;
};

// param, m, v: updated in place; param: [n] fp32 or bf16; grad, m, v: [n] fp32.
void adamw(Stream& stream, const AdamWStep& step, const Tensor& param, const Tensor& grad,
           const Tensor& m, const Tensor& v);

}  // namespace nemo::kernels
