#include "kernels/matmul.h"

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/row_parts.h"
#include "kernels/functors/storage.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

template <typename T>
Matrix<T> matrix(const Tensor& x) {
  return {x.data<T>(), x.stride(0), x.stride(1)};
}
template <typename T>
Matrix<T> transposed(const Tensor& x) {
  return {x.data<T>(), x.stride(1), x.stride(0)};
}

template <typename A, typename B>
void multiply_weight(Stream& stream, const Tensor& dy, const Tensor& x, const Tensor& dw,
                     bool accumulate) {
  gemm(stream, Product{dw.size(0), dw.size(1), dy.size(0), transposed<A>(dy), matrix<B>(x),
                       dw.data<float>(), dw.stride(0), accumulate ? dw.data<float>() : nullptr,
                       dw.stride(0)});
}

// sums[n] = sum over rows [begin, end) of dy[:, n].
template <typename T>
void sum_rows(const T* dy, int64_t stride, int64_t begin, int64_t end, int64_t n, float* sums) {
  for (int64_t j = 0; j < n; ++j) sums[j] = 0;
  for (int64_t t = begin; t < end; ++t) {
    const T* row = dy + t * stride;
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) sums[j] += load(row + j);
  }
}

}  // namespace

void matmul_forward(Stream& stream, const Tensor& x, const Tensor& w, const Tensor& bias,
                    const Tensor& y) {
  with_storage(w.dtype(), [&]<typename T>(T) {
    gemm(stream, Product{y.size(0), y.size(1), x.size(1), matrix<float>(x), transposed<T>(w),
                         y.data<float>(), y.stride(0), bias ? bias.data<float>() : nullptr});
  });
}

void matmul_backward_input(Stream& stream, const Tensor& dy, const Tensor& w, const Tensor& dx) {
  with_storage(w.dtype(), [&]<typename T>(T) {
    gemm(stream, Product{dx.size(0), dx.size(1), dy.size(1), matrix<float>(dy), matrix<T>(w),
                         dx.data<float>(), dx.stride(0)});
  });
}

void matmul_backward_weight(Stream& stream, const Tensor& dy, const Tensor& x, const Tensor& dw,
                            bool accumulate) {
  with_storage(x.dtype(), [&]<typename T>(T) {
    if (dy.dtype() == x.dtype())
      multiply_weight<T, T>(stream, dy, x, dw, accumulate);
    else
      multiply_weight<float, T>(stream, dy, x, dw, accumulate);
  });
}

void bias_backward(Stream& stream, const Tensor& dy, const Tensor& dbias, bool accumulate) {
  const int64_t rows = dy.size(0), n = dy.size(1), stride = dy.stride(0);
  const int64_t parts = num_row_parts(rows);
  const Tensor partial = stream.workspace(DType::kF32, {parts, n}, "bias_backward");
  with_storage(dy.dtype(), [&]<typename T>(T) {
    parallel_pieces(
        stream, parts, 1, dy.bytes(),
        [=, dy = dy.data<T>(), sums = partial.data<float>()](int64_t begin, int64_t end) {
          for (int64_t part = begin; part < end; ++part)
            sum_rows(dy, stride, row_part_begin(rows, parts, part),
                     row_part_begin(rows, parts, part + 1), n, sums + part * n);
        });
  });
  add_partial_rows(stream, partial.data<float>(), parts, n, dbias.data<float>(), accumulate);
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
