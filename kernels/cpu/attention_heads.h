// How both directions of attention see their tensors and share the work among threads.
#pragma once

#include "kernels/cpu/tile.h"
#include "lib/device/stream.h"

namespace nemo::kernels::NEMO_CPU_ISA {

inline constexpr float kLog2E = 0x1.715476p0f;

// A [B, S, H, D] view.
template <typename T>
struct Heads {
  T* data;
  int64_t batch, row, head;  // strides

  NEMO_INLINE explicit Heads(const Tensor& x)
      : data(static_cast<T*>(x.raw())), batch(x.stride(0)), row(x.stride(1)), head(x.stride(2)) {}
  NEMO_INLINE T* at(int64_t b, int64_t s, int64_t h) const {
    return data + b * batch + s * row + h * head;
  }
};

// A [B, H, S] view, S dense.
struct Statistics {
  float* data;
  int64_t batch, head;  // strides

  NEMO_INLINE explicit Statistics(const Tensor& x)
      : data(static_cast<float*>(x.raw())), batch(x.stride(0)), head(x.stride(1)) {}
  NEMO_INLINE float* at(int64_t b, int64_t h) const { return data + b * batch + h * head; }
};

// The threads that this many multiply-adds are worth: a team is woken only for work that takes
// longer than waking it.
NEMO_INLINE int attention_team(const Stream& stream, int64_t multiply_adds) {
  constexpr int64_t kMinPerThread = 1 << 19;
  return static_cast<int>(max_of(1, min_of(stream.num_threads(), multiply_adds / kMinPerThread)));
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
