#include "kernels/gelu.h"

#include "kernels/cpu/team.h"
#include "kernels/functors/gelu.h"
#include "kernels/functors/storage.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

constexpr int64_t kGrain = 64;  // elements of one cache line of any dtype

template <Gelu kKind, typename T>
void forward(Stream& stream, const Tensor& x, const Tensor& y) {
  parallel_pieces(stream, x.numel(), kGrain, 2 * x.bytes(),
                  [x = x.data<T>(), y = y.data<T>()](int64_t begin, int64_t end) {
#pragma omp simd
                    for (int64_t i = begin; i < end; ++i) {
                      const float z = load(x + i);
                      store(kKind == Gelu::kTanh ? functors::gelu_tanh(z) : functors::gelu_exact(z),
                            y + i);
                    }
                  });
}

template <Gelu kKind, typename T>
void backward(Stream& stream, const Tensor& dy, const Tensor& x, const Tensor& dx) {
  parallel_pieces(
      stream, x.numel(), kGrain, 3 * x.bytes(),
      [dy = dy.data<T>(), x = x.data<T>(), dx = dx.data<T>()](int64_t begin, int64_t end) {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) {
          const float z = load(x + i);
          const float slope = kKind == Gelu::kTanh ? functors::gelu_tanh_derivative(z)
                                                   : functors::gelu_exact_derivative(z);
          store(load(dy + i) * slope, dx + i);
        }
      });
}

}  // namespace

void gelu_forward(Stream& stream, const Tensor& x, Gelu kind, const Tensor& y) {
  with_storage(x.dtype(), [&]<typename T>(T) {
    if (kind == Gelu::kTanh)
      forward<Gelu::kTanh, T>(stream, x, y);
    else
      forward<Gelu::kExact, T>(stream, x, y);
  });
}

void gelu_backward(Stream& stream, const Tensor& dy, const Tensor& x, Gelu kind, const Tensor& dx) {
  with_storage(x.dtype(), [&]<typename T>(T) {
    if (kind == Gelu::kTanh)
      backward<Gelu::kTanh, T>(stream, dy, x, dx);
    else
      backward<Gelu::kExact, T>(stream, dy, x, dx);
  });
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
