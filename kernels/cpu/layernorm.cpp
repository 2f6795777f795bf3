#include "kernels/layernorm.h"

#include "kernels/cpu/row_parts.h"
#include "kernels/functors/storage.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

template <typename T>
struct ForwardRows {
  int64_t h;
  const T* x;
  const float *weight, *bias;
  float eps;
  T* y;
  float *mean, *rstd;

  // The variance takes a pass of its own over the cached row: mean(x^2) - mean(x)^2 would lose the
  // digits that matter. Not inlined: two copies of it may sum in two orders.
  [[gnu::noinline]] void normalize(int64_t t) const {
    const T* row = x + t * h;
    const float *w = weight, *b = bias;
    float total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t j = 0; j < h; ++j) total += load(row + j);
    const float m = total / static_cast<float>(h);
    float squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t j = 0; j < h; ++j) squares += (load(row + j) - m) * (load(row + j) - m);
    const float r = 1.0f / __builtin_sqrtf(squares / static_cast<float>(h) + eps);
    T* out = y + t * h;
#pragma omp simd
    for (int64_t j = 0; j < h; ++j) store((load(row + j) - m) * r * w[j] + b[j], out + j);
    mean[t] = m;
    rstd[t] = r;
  }

  void operator()(int64_t begin, int64_t end) const {
    for (int64_t t = begin; t < end; ++t) normalize(t);
  }
};

// `norm` reads the sum that is written here.
template <typename T>
void add_forward_rows(int64_t begin, int64_t end, const T* x, const T* delta, T* sum,
                      const ForwardRows<T>& norm) {
  const int64_t h = norm.h;
  for (int64_t t = begin; t < end; ++t) {
    const T *x_row = x + t * h, *delta_row = delta + t * h;
    T* sum_row = sum + t * h;
#pragma omp simd
    for (int64_t j = 0; j < h; ++j) store(load(x_row + j) + load(delta_row + j), sum_row + j);
    norm.normalize(t);
  }
}

template <typename T>
struct BackwardRows {
  int64_t h;
  const T *dy, *x;
  const float *weight, *mean, *rstd;
  const T* dresidual;  // may be null
  T* dx;

  // dx of rows [begin, end), and their share of the sums over rows into dweight[h] and dbias[h].
  void operator()(int64_t begin, int64_t end, float* dweight, float* dbias) const {
    for (int64_t j = 0; j < h; ++j) dweight[j] = dbias[j] = 0;
    for (int64_t t = begin; t < end; ++t) {
      if (dresidual)
        row<true>(t, dweight, dbias);
      else
        row<false>(t, dweight, dbias);
    }
  }

  template <bool kResidual>
  void row(int64_t t, float* dweight, float* dbias) const {
    const T *dy_row = dy + t * h, *x_row = x + t * h;
    const float* w = weight;
    const T* residual_row = kResidual ? dresidual + t * h : nullptr;
    T* dx_row = dx + t * h;
    const float m = mean[t], r = rstd[t];
    float sum_g = 0, sum_gn = 0;
#pragma omp simd reduction(+ : sum_g, sum_gn)
    for (int64_t j = 0; j < h; ++j) {
      const float g = load(dy_row + j) * w[j];
      sum_g += g;
      sum_gn += g * ((load(x_row + j) - m) * r);
    }
    const float mean_g = sum_g / static_cast<float>(h), mean_gn = sum_gn / static_cast<float>(h);
#pragma omp simd
    for (int64_t j = 0; j < h; ++j) {
      const float n = (load(x_row + j) - m) * r;
      const float d = load(dy_row + j);
      const float residual = kResidual ? load(residual_row + j) : 0.0f;
      dweight[j] += d * n;
      dbias[j] += d;
      store(residual + r * (d * w[j] - mean_g - n * mean_gn), dx_row + j);
    }
  }
};

}  // namespace

void layernorm_forward(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias,
                       float eps, const Tensor& y, const Tensor& mean, const Tensor& rstd) {
  with_storage(x.dtype(), [&]<typename T>(T) {
    const ForwardRows<T> norm = {x.size(1), x.data<T>(), weight.data<float>(), bias.data<float>(),
                                 eps,       y.data<T>(), mean.data<float>(),   rstd.data<float>()};
    parallel_pieces(stream, x.size(0), 1, 2 * x.bytes(), norm);
  });
}

void add_layernorm_forward(Stream& stream, const Tensor& x, const Tensor& delta,
                           const Tensor& weight, const Tensor& bias, float eps, const Tensor& sum,
                           const Tensor& y, const Tensor& mean, const Tensor& rstd) {
  with_storage(x.dtype(), [&]<typename T>(T) {
    const ForwardRows<T> norm = {
        x.size(1), sum.data<T>(), weight.data<float>(), bias.data<float>(),
        eps,       y.data<T>(),   mean.data<float>(),   rstd.data<float>()};
    parallel_pieces(
        stream, x.size(0), 1, 4 * x.bytes(),
        [&norm, x = x.data<T>(), delta = delta.data<T>(), sum = sum.data<T>()](
            int64_t begin, int64_t end) { add_forward_rows(begin, end, x, delta, sum, norm); });
  });
}

void layernorm_backward(Stream& stream, const LayerNormBackward& args) {
  const int64_t rows = args.x.size(0), h = args.x.size(1);
  const int64_t parts = num_row_parts(rows);
  const Tensor partial_weight = stream.workspace(DType::kF32, {parts, h}, "layernorm_dweight");
  const Tensor partial_bias = stream.workspace(DType::kF32, {parts, h}, "layernorm_dbias");
  float *weight_sums = partial_weight.data<float>(), *bias_sums = partial_bias.data<float>();
  with_storage(args.x.dtype(), [&]<typename T>(T) {
    const BackwardRows<T> backward = {h,
                                      args.dy.data<T>(),
                                      args.x.data<T>(),
                                      args.weight.data<float>(),
                                      args.mean.data<float>(),
                                      args.rstd.data<float>(),
                                      args.dresidual ? args.dresidual.data<T>() : nullptr,
                                      args.dx.data<T>()};
    parallel_pieces(stream, parts, 1, 4 * args.x.bytes(), [&](int64_t begin, int64_t end) {
      for (int64_t part = begin; part < end; ++part)
        backward(row_part_begin(rows, parts, part), row_part_begin(rows, parts, part + 1),
                 weight_sums + part * h, bias_sums + part * h);
    });
  });
  add_partial_rows(stream, weight_sums, parts, h, args.dweight.data<float>(),
                   args.accumulate_dweight);
  add_partial_rows(stream, bias_sums, parts, h, args.dbias.data<float>(), args.accumulate_dbias);
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
