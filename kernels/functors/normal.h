// Pairs of standard normal numbers from pairs of random words (Box & Muller 1958). The same bits on
// every instruction set: every operation is exact or rounded once as written.
#pragma once

#include <cstdint>

#include "kernels/functors/inline.h"
#include "kernels/functors/log.h"

namespace nemo::kernels::functors {

struct NormalPair {
  float cosine, sine;
};

// sqrt(-2 ln u) times the cosine and the sine of 2 pi v / 2^32, where
//   u = (radius_bits / 2 + 1/2) / 2^31 in (0, 1], in float, so |result| <= 6.67.
NEMO_INLINE NormalPair box_muller(uint32_t radius_bits, uint32_t angle_bits) {
  const float u = static_cast<float>(static_cast<int32_t>(radius_bits >> 1)) + 0.5f;
  const float radius = __builtin_sqrtf(-2.0f * log(u * 0x1p-31f));

  // The angle is `quadrant` quarter turns and x, |x| <= pi/4.
  const uint32_t quadrant = (angle_bits + 0x20000000u) >> 30;
  const int32_t rest = static_cast<int32_t>(angle_bits - (quadrant << 30));
  const float x = static_cast<float>(rest) * 0x1.921fb6p-30f;
  const float y = x * x;
  float s = -0x1.994e86p-13f;  // minimax fits, relative error 4e-9 and 1e-10
  s = __builtin_fmaf(s, y, 0x1.110760p-7f);
  s = __builtin_fmaf(s, y, -0x1.555546p-3f);
  s = __builtin_fmaf(s * y, x, x);
  float c = 0x1.9a0232p-16f;
  c = __builtin_fmaf(c, y, -0x1.6c0c8cp-10f);
  c = __builtin_fmaf(c, y, 0x1.55554ap-5f);
  c = __builtin_fmaf(c, y, -0.5f);
  c = __builtin_fmaf(c, y, 1.0f);

  const bool odd = (quadrant & 1u) != 0;
  const uint32_t cosine_sign = ((quadrant + 1u) & 2u) << 30, sine_sign = (quadrant & 2u) << 30;
  const uint32_t cosine = __builtin_bit_cast(uint32_t, odd ? s : c) ^ cosine_sign;
  const uint32_t sine = __builtin_bit_cast(uint32_t, odd ? c : s) ^ sine_sign;
  return {radius * __builtin_bit_cast(float, cosine), radius * __builtin_bit_cast(float, sine)};
}

}  // namespace nemo::kernels::functors
