#include "kernels/embedding.h"

#include "kernels/cpu/team.h"
#include "kernels/functors/storage.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

// Columns of one cache line: threads that share a row of dtable never share a line of it.
constexpr int64_t kLine = 16;

template <typename Row, typename T>
struct Lookup {
  const int32_t* ids;
  const Row* table;
  int64_t first_row, num_rows, h;
  T* y;

  template <bool kAccumulate>
  void operator()(int64_t begin, int64_t end) const {
    for (int64_t t = begin; t < end; ++t) {
      const int64_t row = ids[t] - first_row;
      T* out = y + t * h;
      if (row < 0 || row >= num_rows) {
        if (!kAccumulate) __builtin_memset(out, 0, static_cast<size_t>(h) * sizeof(T));
        continue;
      }
      const Row* in = table + row * h;
#pragma omp simd
      for (int64_t j = 0; j < h; ++j)
        store(kAccumulate ? load(out + j) + load(in + j) : load(in + j), out + j);
    }
  }
};

}  // namespace

void embedding_forward(Stream& stream, const Tensor& ids, const Tensor& table, int64_t first_row,
                       const Tensor& y, bool accumulate) {
  with_storage(table.dtype(), [&]<typename Row>(Row) {
    with_storage(y.dtype(), [&]<typename T>(T) {
      const Lookup<Row, T> lookup = {ids.data<int32_t>(), table.data<Row>(), first_row,
                                     table.size(0),       table.size(1),     y.data<T>()};
      parallel_pieces(stream, ids.size(0), 1, 2 * y.bytes(),
                      [&lookup, accumulate](int64_t begin, int64_t end) {
                        if (accumulate)
                          lookup.template operator()<true>(begin, end);
                        else
                          lookup.template operator()<false>(begin, end);
                      });
    });
  });
}

// Every thread walks all tokens over columns of its own: no conflicts, and each row of dtable sums
// in the order of the tokens.
void embedding_backward(Stream& stream, const Tensor& ids, const Tensor& dy, int64_t first_row,
                        const Tensor& dtable, bool accumulate) {
  const int64_t num_tokens = ids.size(0), num_rows = dtable.size(0), h = dtable.size(1);
  const int32_t* id = ids.data<int32_t>();
  float* out = dtable.data<float>();
  if (!accumulate) {
    parallel_pieces(
        stream, dtable.numel(), kLine, dtable.bytes(), [out](int64_t begin, int64_t end) {
          __builtin_memset(out + begin, 0, static_cast<size_t>(end - begin) * sizeof(float));
        });
  }
  with_storage(dy.dtype(), [&]<typename T>(T) {
    parallel_pieces(stream, h, kLine, 2 * dy.bytes(),
                    [=, dy = dy.data<T>()](int64_t begin, int64_t end) {
                      for (int64_t t = 0; t < num_tokens; ++t) {
                        const int64_t row = id[t] - first_row;
                        if (row < 0 || row >= num_rows) continue;
#pragma omp simd
                        for (int64_t j = begin; j < end; ++j)
                          out[row * h + j] += load(dy + t * h + j);
                      }
                    });
  });
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
