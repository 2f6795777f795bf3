// The standard normal distribution, for the exact GELU.
#pragma once

#include "kernels/functors/exp.h"

namespace nemo::kernels::functors {

struct NormalCdf {
  float cdf;      // integral of the density up to x
  float density;  // e^(-x^2/2) / sqrt(2 pi)
};

// With a = |x| / sqrt 2 and t = 1 / (1 + 3a/8): erfc(a) = e^(-a^2) t P(t), P a minimax fit of
// degree 8 over 0 <= a <= 11, relative error 2e-8. From erfc rather than erf, so that the lower
// tail keeps its digits.
NEMO_INLINE NormalCdf normal_cdf(float x) {
  const float magnitude = __builtin_fabsf(x);
  const float z = magnitude < 15.0f ? magnitude : 15.0f;  // beyond, the tails are 0
  const float t = 1.0f / __builtin_fmaf(z, 0.375f * 0x1.6a09e6p-1f, 1.0f);
  float p = 0x1.ef894ep-5f;
  p = __builtin_fmaf(p, t, -0x1.2129b2p-2f);
  p = __builtin_fmaf(p, t, 0x1.b0a1b2p-2f);
  p = __builtin_fmaf(p, t, -0x1.bf560ap-3f);
  p = __builtin_fmaf(p, t, 0x1.10c1bep-2f);
  p = __builtin_fmaf(p, t, 0x1.fe25d6p-4f);
  p = __builtin_fmaf(p, t, 0x1.a2eec8p-3f);
  p = __builtin_fmaf(p, t, 0x1.af9f36p-3f);
  p = __builtin_fmaf(p, t, 0x1.b15f4ep-3f);
  const float square = z * z;
  const float lost = __builtin_fmaf(z, z, -square);  // z^2 = square + lost
  const float e = exp(-0.5f * square) * __builtin_fmaf(-0.5f, lost, 1.0f);
  const float half_erfc = 0.5f * e * t * p;
  return {x < 0 ? half_erfc : 1.0f - half_erfc, e * 0x1.988454p-2f};
}

}  // namespace nemo::kernels::functors
