#include "kernels/rope.h"

#include "kernels/cpu/team.h"
#include "kernels/functors/storage.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

template <typename T, typename Angle>
struct Rotation {
  T* x;
  int64_t seq, heads, half;
  int64_t batch_stride, seq_stride, head_stride;
  const int32_t* positions;
  const Angle* table;

  // Tokens [begin, end) of batch and sequence, by the angle or by its negative.
  template <bool kInverse>
  void rotate(int64_t begin, int64_t end) const {
    for (int64_t token = begin; token < end; ++token) {
      const int64_t b = token / seq, s = token % seq;
      const Angle* cosine = table + positions[s] * 2 * half;
      const Angle* sine = cosine + half;
      for (int64_t head = 0; head < heads; ++head) {
        T* low = x + b * batch_stride + s * seq_stride + head * head_stride;
        T* high = low + half;
#pragma omp simd
        for (int64_t i = 0; i < half; ++i) {
          const float a = load(low + i), c = load(high + i);
          const float cos_i = load(cosine + i);
          const float sin_i = kInverse ? -load(sine + i) : load(sine + i);
          store(a * cos_i - c * sin_i, low + i);
          store(c * cos_i + a * sin_i, high + i);
        }
      }
    }
  }
};

template <bool kInverse, typename T, typename Angle>
void rotate_all(Stream& stream, const Tensor& x, const Tensor& positions, const Tensor& table) {
  const Rotation<T, Angle> rotation = {
      x.data<T>(),        x.size(1),   x.size(2),   x.size(3) / 2,
      x.stride(0),        x.stride(1), x.stride(2), positions.data<int32_t>(),
      table.data<Angle>()};
  parallel_pieces(
      stream, x.size(0) * x.size(1), 1, 2 * x.bytes(),
      [&rotation](int64_t begin, int64_t end) { rotation.template rotate<kInverse>(begin, end); });
}

template <bool kInverse>
void rope(Stream& stream, const Tensor& x, const Tensor& positions, const Tensor& table) {
  with_storage(x.dtype(), [&]<typename T>(T) {
    with_storage(table.dtype(), [&]<typename Angle>(Angle) {
      rotate_all<kInverse, T, Angle>(stream, x, positions, table);
    });
  });
}

}  // namespace

void rope_forward(Stream& stream, const Tensor& x, const Tensor& positions, const Tensor& table) {
  rope<false>(stream, x, positions, table);
}

void rope_backward(Stream& stream, const Tensor& dx, const Tensor& positions, const Tensor& table) {
  rope<true>(stream, dx, positions, table);
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
