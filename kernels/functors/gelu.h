// GELU and its derivative, exact and in the tanh approximation.
#pragma once

#include "kernels/functors/normal_cdf.h"
#include "kernels/functors/sigmoid.h"

namespace nemo::kernels::functors {

NEMO_INLINE float gelu_exact(float x) {
  return x * normal_cdf(x).cdf;
}

NEMO_INLINE float gelu_exact_derivative(float x) {
  const NormalCdf normal = normal_cdf(x);
  return __builtin_fmaf(x, normal.density, normal.cdf);
}

// (1 + tanh u) / 2 = sigmoid(2u), here with 2u = kLinear x + kCubic x^3.
inline constexpr float kGeluLinear = 0x1.988454p0f;  // 2 sqrt(2 / pi)
inline constexpr float kGeluCubic = 0x1.2444f2p-4f;  // 0.044715 times that

NEMO_INLINE float gelu_tanh(float x) {
  return x * sigmoid(x * __builtin_fmaf(kGeluCubic, x * x, kGeluLinear));
}

NEMO_INLINE float gelu_tanh_derivative(float x) {
  const float square = x * x;
  const Sigmoid s = sigmoid_and_rest(x * __builtin_fmaf(kGeluCubic, square, kGeluLinear));
  const float slope = __builtin_fmaf(3.0f * kGeluCubic, square, kGeluLinear);
  return __builtin_fmaf(x * s.value * s.rest, slope, s.value);
}

}  // namespace nemo::kernels::functors
