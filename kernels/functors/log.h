// The natural logarithm in single precision, branch-free so that loops over it vectorise. The same
// bits on every instruction set: every operation is exact or rounded once as written.
#pragma once

#include <cstdint>

#include "kernels/functors/inline.h"

namespace nemo::kernels::functors {

// ln x for a normal positive x, error below 2 ulp.
//   x = 2^n m, sqrt(1/2) <= m < sqrt 2, t = m - 1:   ln x = n ln 2 + t - t^2/2 + t^3 P(t)
// P is a weighted minimax fit of degree 7, relative error 6e-9 of ln m.
NEMO_INLINE float log(float x) {
  constexpr uint32_t kSqrtHalf = 0x3f3504f3;  // the bits of sqrt(1/2)
  const uint32_t above = __builtin_bit_cast(uint32_t, x) - kSqrtHalf;
  const float n = static_cast<float>(static_cast<int32_t>(above) >> 23);
  const float t = __builtin_bit_cast(float, (above & 0x007fffffu) + kSqrtHalf) - 1.0f;
  float p = -0x1.38b25ep-4f;
  p = __builtin_fmaf(p, t, 0x1.055a6cp-3f);
  p = __builtin_fmaf(p, t, -0x1.0d8560p-3f);
  p = __builtin_fmaf(p, t, 0x1.22da44p-3f);
  p = __builtin_fmaf(p, t, -0x1.547246p-3f);
  p = __builtin_fmaf(p, t, 0x1.99a006p-3f);
  p = __builtin_fmaf(p, t, -0x1.000226p-2f);
  p = __builtin_fmaf(p, t, 0x1.555554p-2f);
  const float square = t * t;
  float tail = __builtin_fmaf(n, 0x1.7f7d1cp-20f, square * t * p);  // ln 2 in two parts
  tail = __builtin_fmaf(square, -0.5f, tail);
  return __builtin_fmaf(n, 0x1.62e400p-1f, t + tail);
}

}  // namespace nemo::kernels::functors
