#include "kernels/rmsnorm.h"

#include "kernels/cpu/row_parts.h"
#include "kernels/functors/storage.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

// y = x * rstd * weight; returns rstd. Not inlined: two copies of it may sum in two orders.
template <typename T>
[[gnu::noinline]] float normalize_row(const T* x, const float* weight, float eps, int64_t h, T* y) {
  float squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t j = 0; j < h; ++j) squares += load(x + j) * load(x + j);
  const float rstd = 1.0f / __builtin_sqrtf(squares / static_cast<float>(h) + eps);
#pragma omp simd
  for (int64_t j = 0; j < h; ++j) store(load(x + j) * rstd * weight[j], y + j);
  return rstd;
}

template <typename T>
void forward_rows(int64_t begin, int64_t end, int64_t h, const T* x, const float* weight, float eps,
                  T* y, float* rstd) {
  for (int64_t t = begin; t < end; ++t)
    rstd[t] = normalize_row(x + t * h, weight, eps, h, y + t * h);
}

template <typename T>
void add_forward_rows(int64_t begin, int64_t end, int64_t h, const T* x, const T* delta,
                      const float* weight, float eps, T* sum, T* y, float* rstd) {
  for (int64_t t = begin; t < end; ++t) {
    T* row = sum + t * h;
#pragma omp simd
    for (int64_t j = 0; j < h; ++j) store(load(x + t * h + j) + load(delta + t * h + j), row + j);
    rstd[t] = normalize_row(row, weight, eps, h, y + t * h);
  }
}

template <typename T>
struct BackwardRows {
  int64_t h;
  const T *dy, *x;
  const float *weight, *rstd;
  const T* dresidual;  // may be null
  T* dx;

  // dx of rows [begin, end), and their share of dweight into dweight[h].
  void operator()(int64_t begin, int64_t end, float* dweight) const {
    for (int64_t j = 0; j < h; ++j) dweight[j] = 0;
    for (int64_t t = begin; t < end; ++t) {
      if (dresidual)
        row<true>(t, dweight);
      else
        row<false>(t, dweight);
    }
  }

  template <bool kResidual>
  void row(int64_t t, float* dweight_sum) const {
    const T *dy_row = dy + t * h, *x_row = x + t * h;
    const float* w = weight;
    const T* residual_row = kResidual ? dresidual + t * h : nullptr;
    T* dx_row = dx + t * h;
    const float r = rstd[t];
    float dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t j = 0; j < h; ++j) dot += load(dy_row + j) * w[j] * load(x_row + j);
    const float mean = dot * r / static_cast<float>(h);
#pragma omp simd
    for (int64_t j = 0; j < h; ++j) {
      const float n = load(x_row + j) * r;
      const float d = load(dy_row + j);
      const float residual = kResidual ? load(residual_row + j) : 0.0f;
      dweight_sum[j] += d * n;
      store(residual + r * (d * w[j] - n * mean), dx_row + j);
    }
  }
};

}  // namespace

void rmsnorm_forward(Stream& stream, const Tensor& x, const Tensor& weight, float eps,
                     const Tensor& y, const Tensor& rstd) {
  with_storage(x.dtype(), [&]<typename T>(T) {
    parallel_pieces(stream, x.size(0), 1, 2 * x.bytes(),
                    [h = x.size(1), x = x.data<T>(), weight = weight.data<float>(), eps,
                     y = y.data<T>(), rstd = rstd.data<float>()](int64_t begin, int64_t end) {
                      forward_rows(begin, end, h, x, weight, eps, y, rstd);
                    });
  });
}

void add_rmsnorm_forward(Stream& stream, const Tensor& x, const Tensor& delta, const Tensor& weight,
                         float eps, const Tensor& sum, const Tensor& y, const Tensor& rstd) {
  with_storage(x.dtype(), [&]<typename T>(T) {
    parallel_pieces(stream, x.size(0), 1, 4 * x.bytes(),
                    [h = x.size(1), x = x.data<T>(), delta = delta.data<T>(),
                     weight = weight.data<float>(), eps, sum = sum.data<T>(), y = y.data<T>(),
                     rstd = rstd.data<float>()](int64_t begin, int64_t end) {
                      add_forward_rows(begin, end, h, x, delta, weight, eps, sum, y, rstd);
                    });
  });
}

void rmsnorm_backward(Stream& stream, const Tensor& dy, const Tensor& x, const Tensor& weight,
                      const Tensor& rstd, const Tensor& dresidual, const Tensor& dx,
                      const Tensor& dweight, bool accumulate) {
  const int64_t rows = x.size(0), h = x.size(1);
  const int64_t parts = num_row_parts(rows);
  const Tensor partial = stream.workspace(DType::kF32, {parts, h}, "rmsnorm_backward");
  with_storage(x.dtype(), [&]<typename T>(T) {
    const BackwardRows<T> backward = {h,
                                      dy.data<T>(),
                                      x.data<T>(),
                                      weight.data<float>(),
                                      rstd.data<float>(),
                                      dresidual ? dresidual.data<T>() : nullptr,
                                      dx.data<T>()};
    parallel_pieces(
        stream, parts, 1, 4 * x.bytes(),
        [&backward, rows, h, parts, sums = partial.data<float>()](int64_t begin, int64_t end) {
          for (int64_t part = begin; part < end; ++part)
            backward(row_part_begin(rows, parts, part), row_part_begin(rows, parts, part + 1),
                     sums + part * h);
        });
  });
  add_partial_rows(stream, partial.data<float>(), parts, h, dweight.data<float>(), accumulate);
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
