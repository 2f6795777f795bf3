// The logistic function, and SiLU, which is built on it.
#pragma once

#include "kernels/functors/exp.h"

namespace nemo::kernels::functors {

// 1 / (1 + e^-z), accurate in both tails.
NEMO_INLINE float sigmoid(float z) {
  return 1.0f / (1.0f + exp(-z));
}

struct Sigmoid {
  float value;  // sigmoid(z)
  float rest;   // 1 - sigmoid(z), with all its digits
};

// For derivatives: they multiply `rest` by numbers that grow where it vanishes.
NEMO_INLINE Sigmoid sigmoid_and_rest(float z) {
  const float e = exp(-__builtin_fabsf(z));
  const float larger = 1.0f / (1.0f + e);
  const float smaller = e * larger;
  return {z < 0 ? smaller : larger, z < 0 ? larger : smaller};
}

NEMO_INLINE float silu(float z) {
  return z * sigmoid(z);
}

struct SiluAndSlope {
  float value, slope;
};

// silu'(z) = s (1 + z (1 - s)), s = sigmoid(z).
NEMO_INLINE SiluAndSlope silu_and_slope(float z) {
  const Sigmoid s = sigmoid_and_rest(z);
  return {z * s.value, s.value * __builtin_fmaf(z, s.rest, 1.0f)};
}

}  // namespace nemo::kernels::functors
