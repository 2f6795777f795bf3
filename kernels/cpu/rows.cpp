#include "kernels/rows.h"

#include "kernels/cpu/team.h"
#include "kernels/functors/storage.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

constexpr int64_t kBlock = 256;  // columns that sum in registers and L1

template <typename T>
void sum_row(const T* x, const int32_t* index, int64_t k, int64_t h, T* out) {
  for (int64_t first = 0; first < h; first += kBlock) {
    const int64_t n = h - first < kBlock ? h - first : kBlock;
    float total[kBlock];
    for (int64_t i = 0; i < n; ++i) total[i] = 0;
    for (int64_t j = 0; j < k; ++j) {
      if (index[j] < 0) continue;
      const T* row = x + index[j] * h + first;
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) total[i] += load(row + i);
    }
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) store(total[i], out + first + i);
  }
}

}  // namespace

void gather_rows(Stream& stream, const Tensor& x, const Tensor& index, const Tensor& out) {
  const int64_t row_bytes = out.size(1) * size_of(out.dtype());
  parallel_pieces(stream, out.size(0), 1, 2 * out.bytes(),
                  [bytes = static_cast<size_t>(row_bytes), row_bytes,
                   x = static_cast<const char*>(x.raw()), index = index.data<int32_t>(),
                   out = static_cast<char*>(out.raw())](int64_t begin, int64_t end) {
                    for (int64_t r = begin; r < end; ++r)
                      if (index[r] < 0)
                        __builtin_memset(out + r * row_bytes, 0, bytes);
                      else
                        __builtin_memcpy(out + r * row_bytes, x + index[r] * row_bytes, bytes);
                  });
}

void sum_rows(Stream& stream, const Tensor& x, const Tensor& index, const Tensor& out) {
  with_storage(x.dtype(), [&]<typename T>(T) {
    parallel_pieces(
        stream, out.size(0), 1, (index.size(1) + 1) * out.bytes(),
        [h = out.size(1), k = index.size(1), x = x.data<T>(), index = index.data<int32_t>(),
         out = out.data<T>()](int64_t begin, int64_t end) {
          for (int64_t t = begin; t < end; ++t) sum_row(x, index + t * k, k, h, out + t * h);
        });
  });
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
