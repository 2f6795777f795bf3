// exp and exp2 in single precision, branch-free so that loops over them vectorise.
// Error below 1.1 ulp wherever the result is a normal number; below that range the result is 0,
// above it infinity; NaN stays NaN.
//   e^x = 2^n e^r,  n = round(x / ln 2),  |r| <= ln 2 / 2
// The polynomial for e^r is a weighted minimax fit of degree 6, relative error 2e-9.
#pragma once

#include <cstdint>

#include "kernels/functors/inline.h"

namespace nemo::kernels::functors {

// Adding this to |x| < 2^22 leaves round(x) in the low bits of the sum.
inline constexpr float kRoundToInteger = 0x1.8p23f;

// e^r for |r| <= ln 2 / 2.
NEMO_INLINE float exp_reduced(float r) {
  float p = 0x1.6ae6e0p-10f;
  p = __builtin_fmaf(p, r, 0x1.1267d8p-7f);
  p = __builtin_fmaf(p, r, 0x1.555824p-5f);
  p = __builtin_fmaf(p, r, 0x1.555418p-3f);
  p = __builtin_fmaf(p, r, 0x1.fffffcp-2f);
  p = __builtin_fmaf(p, r, 1.0f);
  return __builtin_fmaf(p, r, 1.0f);
}

// p * 2^n, n in the low bits of `rounded`. x is the argument that decides about over- and
// underflow.
NEMO_INLINE float scale_by_power(float p, float rounded, float x, float lowest, float highest) {
  const uint32_t n = __builtin_bit_cast(uint32_t, rounded);
  const float scaled = __builtin_bit_cast(float, __builtin_bit_cast(uint32_t, p) + (n << 23));
  const float not_small = x < lowest ? 0.0f : scaled;
  return x <= highest ? not_small : x * __builtin_inff();  // infinity, or NaN where x is
}

NEMO_INLINE float exp(float x) {
  const float rounded = __builtin_fmaf(x, 0x1.715476p0f, kRoundToInteger);
  const float n = rounded - kRoundToInteger;
  float r = __builtin_fmaf(n, -0x1.62e400p-1f, x);  // ln 2 in two parts, the first times n exact
  r = __builtin_fmaf(n, -0x1.7f7d1cp-20f, r);
  return scale_by_power(exp_reduced(r), rounded, x, -0x1.5d589ep6f, 0x1.62e42ep6f);
}

// 2^x.
NEMO_INLINE float exp2(float x) {
  const float rounded = x + kRoundToInteger;
  const float r = (x - (rounded - kRoundToInteger)) * 0x1.62e430p-1f;
  return scale_by_power(exp_reduced(r), rounded, x, -126.0f, 0x1.fffffep6f);
}

}  // namespace nemo::kernels::functors
