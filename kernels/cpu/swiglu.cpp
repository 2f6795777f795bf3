#include "kernels/swiglu.h"

#include "kernels/cpu/team.h"
#include "kernels/functors/sigmoid.h"
#include "kernels/functors/storage.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

template <bool kScaled, typename T>
void forward_row(const T* gate, const T* up, float scale, int64_t f, T* y) {
#pragma omp simd
  for (int64_t j = 0; j < f; ++j) {
    const float value = functors::silu(load(gate + j)) * load(up + j);
    store(kScaled ? scale * value : value, y + j);
  }
}

// Returns dscale, 0 where there is no scale.
template <bool kScaled, typename T>
float backward_row(const T* dy, const T* gate, const T* up, float scale, int64_t f, T* dgate,
                   T* dup) {
  float dscale = 0;
#pragma omp simd reduction(+ : dscale)
  for (int64_t j = 0; j < f; ++j) {
    const float d = kScaled ? scale * load(dy + j) : load(dy + j), u = load(up + j);
    const functors::SiluAndSlope silu = functors::silu_and_slope(load(gate + j));
    if (kScaled) dscale += load(dy + j) * silu.value * u;
    store(d * u * silu.slope, dgate + j);
    store(d * silu.value, dup + j);
  }
  return dscale;
}

template <typename T>
struct Forward {
  int64_t f;
  const T* gate_up;
  const float* scale;
  T* y;

  template <bool kScaled>
  void rows(int64_t begin, int64_t end) const {
    for (int64_t t = begin; t < end; ++t)
      forward_row<kScaled>(gate_up + 2 * t * f, gate_up + (2 * t + 1) * f,
                           kScaled ? scale[t] : 1.0f, f, y + t * f);
  }
};

template <typename T>
struct Backward {
  int64_t f;
  const T *dy, *gate_up;
  const float* scale;
  T* dgate_up;
  float* dscale;

  template <bool kScaled>
  void rows(int64_t begin, int64_t end) const {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t gate = 2 * t * f, up = gate + f;
      const float sum =
          backward_row<kScaled>(dy + t * f, gate_up + gate, gate_up + up, kScaled ? scale[t] : 1.0f,
                                f, dgate_up + gate, dgate_up + up);
      if (kScaled) dscale[t] = sum;
    }
  }
};

float* data_or_null(const Tensor& tensor) {
  return tensor ? tensor.data<float>() : nullptr;
}

}  // namespace

void swiglu_forward(Stream& stream, const Tensor& gate_up, const Tensor& scale, const Tensor& y) {
  with_storage(y.dtype(), [&]<typename T>(T) {
    const Forward<T> forward = {y.size(1), gate_up.data<T>(), data_or_null(scale), y.data<T>()};
    parallel_pieces(stream, y.size(0), 1, 3 * y.bytes(), [&forward](int64_t begin, int64_t end) {
      forward.scale ? forward.template rows<true>(begin, end)
                    : forward.template rows<false>(begin, end);
    });
  });
}

void swiglu_backward(Stream& stream, const Tensor& dy, const Tensor& gate_up, const Tensor& scale,
                     const Tensor& dgate_up, const Tensor& dscale) {
  with_storage(dy.dtype(), [&]<typename T>(T) {
    const Backward<T> backward = {dy.size(1),          dy.data<T>(),       gate_up.data<T>(),
                                  data_or_null(scale), dgate_up.data<T>(), data_or_null(dscale)};
    parallel_pieces(stream, dy.size(0), 1, 5 * dy.bytes(), [&backward](int64_t begin, int64_t end) {
      backward.scale ? backward.template rows<true>(begin, end)
                     : backward.template rows<false>(begin, end);
    });
  });
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
