// How an element is stored and how it is computed with: arithmetic is fp32, of fp64 fp64.
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
NEMO_INLINE float load(const Float16* p) {
  return to_float(*p);
}

NEMO_INLINE double load(const double* p) {
  return *p;
}

NEMO_INLINE void store(float value, float* p) {
  *p = value;
}
NEMO_INLINE void store(float value, BFloat16* p) {
  *p = to_bfloat16(value);
}
NEMO_INLINE void store(float value, Float16* p) {
  *p = to_float16(value);
}
NEMO_INLINE void store(double value, double* p) {
  *p = value;
}

// Calls body(T()) for the type T that elements of fp32, bf16 or fp16 are stored as.
template <typename Body>
NEMO_INLINE void with_storage(DType dtype, const Body& body) {
  if (dtype == DType::kBF16)
    body(BFloat16());
  else if (dtype == DType::kF16)
    body(Float16());
  else
    body(float());
}

}  // namespace nemo::kernels
