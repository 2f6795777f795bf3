#include "kernels/matmul.h"

#include "kernels/cpu/row_parts.h"
#include "kernels/onednn.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

MatrixStrides strides(const Tensor& matrix) {
  return {matrix.stride(0), matrix.stride(1)};
}
MatrixStrides transposed(const Tensor& matrix) {
  return {matrix.stride(1), matrix.stride(0)};
}

// A sum over nothing.
void fill_with_zeros(Stream& stream, const Tensor& matrix) {
  if (stream.recording()) return;
  for (int64_t i = 0; i < matrix.size(0); ++i)
    for (int64_t j = 0; j < matrix.size(1); ++j) matrix.data<float>()[i * matrix.stride(0) + j] = 0;
}

// sums[n] = sum over rows [begin, end) of dy[:, n].
void sum_rows(const float* dy, int64_t stride, int64_t begin, int64_t end, int64_t n, float* sums) {
  for (int64_t j = 0; j < n; ++j) sums[j] = 0;
  for (int64_t t = begin; t < end; ++t) {
    const float* row = dy + t * stride;
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) sums[j] += row[j];
  }
}

}  // namespace

void matmul_forward(Stream& stream, const Tensor& x, const Tensor& w, const Tensor& bias,
                    const Tensor& y) {
  if (y.numel() == 0) return;
  const MatrixProduct product = {y.size(0),
                                 y.size(1),
                                 x.size(1),
                                 strides(x),
                                 transposed(w),
                                 strides(y),
                                 static_cast<bool>(bias),
                                 /*accumulate=*/false};
  run_onednn(stream, product, {x.raw(), w.raw(), y.raw(), bias.raw()});
}

void matmul_backward_input(Stream& stream, const Tensor& dy, const Tensor& w, const Tensor& dx) {
  if (dx.numel() == 0) return;
  if (dy.size(1) == 0) return fill_with_zeros(stream, dx);
  const MatrixProduct product = {dx.size(0), dx.size(1),  dy.size(1), strides(dy),
                                 strides(w), strides(dx), false,      false};
  run_onednn(stream, product, {dy.raw(), w.raw(), dx.raw(), nullptr});
}

void matmul_backward_weight(Stream& stream, const Tensor& dy, const Tensor& x, const Tensor& dw,
                            bool accumulate) {
  if (dw.numel() == 0) return;
  if (dy.size(0) == 0) {
    if (!accumulate) fill_with_zeros(stream, dw);
    return;
  }
  const MatrixProduct product = {dw.size(0), dw.size(1),  dy.size(0), transposed(dy),
                                 strides(x), strides(dw), false,      accumulate};
  run_onednn(stream, product, {dy.raw(), x.raw(), dw.raw(), nullptr});
}

void bias_backward(Stream& stream, const Tensor& dy, const Tensor& dbias, bool accumulate) {
  const int64_t rows = dy.size(0), n = dy.size(1), stride = dy.stride(0);
  const int64_t parts = num_row_parts(rows);
  const Tensor partial = stream.workspace(DType::kF32, {parts, n}, "bias_backward");
  parallel_pieces(
      stream, parts, 1, dy.bytes(),
      [=, dy = dy.data<float>(), sums = partial.data<float>()](int64_t begin, int64_t end) {
        for (int64_t part = begin; part < end; ++part)
          sum_rows(dy, stride, row_part_begin(rows, parts, part),
                   row_part_begin(rows, parts, part + 1), n, sums + part * n);
      });
  add_partial_rows(stream, partial.data<float>(), parts, n, dbias.data<float>(), accumulate);
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
