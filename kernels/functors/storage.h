// How an element is stored and how it is computed with: arithmetic is fp32 whatever the storage.
#pragma once

#include "kernels/functors/inline.h"
#include "lib/core/dtype.h"

namespace nemo::kernels {

NEMO_INLINE float load(const float* p) {
  return *p;
}
NEMO_INLINE float load(const BFloat16* p) {
  return to_float(*p);
}

NEMO_INLINE void store(float value, float* p) {
  *p = value;
}
NEMO_INLINE void store(float value, BFloat16* p) {
  *p = to_bfloat16(value);
}

}  // namespace nemo::kernels
