#include "kernels/swiglu.h"

#include "kernels/cpu/team.h"
#include "kernels/functors/sigmoid.h"
#include "kernels/functors/storage.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

template <typename T>
void forward_row(const T* gate, const T* up, int64_t f, T* y) {
#pragma omp simd
  for (int64_t j = 0; j < f; ++j) store(functors::silu(load(gate + j)) * load(up + j), y + j);
}

template <typename T>
void backward_row(const T* dy, const T* gate, const T* up, int64_t f, T* dgate, T* dup) {
#pragma omp simd
  for (int64_t j = 0; j < f; ++j) {
    const float d = load(dy + j), u = load(up + j);
    const functors::SiluAndSlope silu = functors::silu_and_slope(load(gate + j));
    store(d * u * silu.slope, dgate + j);
    store(d * silu.value, dup + j);
  }
}

}  // namespace

void swiglu_forward(Stream& stream, const Tensor& gate_up, const Tensor& y) {
  using T = float;
  parallel_pieces(
      stream, y.size(0), 1, 3 * y.bytes(),
      [f = y.size(1), gate_up = gate_up.data<T>(), y = y.data<T>()](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t)
          forward_row(gate_up + 2 * t * f, gate_up + (2 * t + 1) * f, f, y + t * f);
      });
}

void swiglu_backward(Stream& stream, const Tensor& dy, const Tensor& gate_up,
                     const Tensor& dgate_up) {
  using T = float;
  parallel_pieces(stream, dy.size(0), 1, 5 * dy.bytes(),
                  [f = dy.size(1), dy = dy.data<T>(), gate_up = gate_up.data<T>(),
                   dgate_up = dgate_up.data<T>()](int64_t begin, int64_t end) {
                    for (int64_t t = begin; t < end; ++t)
                      backward_row(dy + t * f, gate_up + 2 * t * f, gate_up + (2 * t + 1) * f, f,
                                   dgate_up + 2 * t * f, dgate_up + (2 * t + 1) * f);
                  });
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
