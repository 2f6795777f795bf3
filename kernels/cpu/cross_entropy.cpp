#include "kernels/cross_entropy.h"

#include "kernels/cpu/team.h"
#include "kernels/functors/exp.h"
#include "kernels/functors/storage.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

// A row is read from memory once: maximum and sum go block by block, small enough for L1.
constexpr int64_t kBlock = 1024;

struct Statistics {
  float max = -__FLT_MAX__;  // not -inf: what is left of a row of -inf is 0, not NaN
  float sum = 0;
};

template <typename T>
void add_block(const T* logits, int64_t n, Statistics& row) {
  float max = row.max;
#pragma omp simd reduction(max : max)
  for (int64_t v = 0; v < n; ++v) max = load(logits + v) > max ? load(logits + v) : max;
  // The next block comes from memory while this one is computed with.
  for (int64_t v = 0; v < kBlock; v += 16) __builtin_prefetch(logits + n + v);
  float sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t v = 0; v < n; ++v) sum += functors::exp(load(logits + v) - max);
  row.sum = row.sum * functors::exp(row.max - max) + sum;
  row.max = max;
}

template <typename T>
void gradient_row(T* logits, int64_t n, float lse, float scale) {
#pragma omp simd
  for (int64_t v = 0; v < n; ++v) store(scale * functors::exp(load(logits + v) - lse), logits + v);
}

}  // namespace

void cross_entropy_statistics(Stream& stream, const Tensor& logits, const Tensor& targets,
                              int64_t first_col, const Tensor& row_max, const Tensor& row_sum,
                              const Tensor& target_logit) {
  using T = float;
  parallel_pieces(
      stream, logits.size(0), 1, logits.bytes(),
      [num_cols = logits.size(1), logits = logits.data<T>(), targets = targets.data<int32_t>(),
       first_col, row_max = row_max.data<float>(), row_sum = row_sum.data<float>(),
       target_logit = target_logit.data<float>()](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          const T* row = logits + t * num_cols;
          Statistics statistics;
          for (int64_t v = 0; v < num_cols; v += kBlock)
            add_block(row + v, num_cols - v < kBlock ? num_cols - v : kBlock, statistics);
          row_max[t] = statistics.max;
          row_sum[t] = statistics.sum;
          const int64_t target = targets[t] - first_col;
          const bool here = targets[t] >= 0 && target >= 0 && target < num_cols;
          target_logit[t] = here ? load(row + target) : 0.0f;
        }
      });
}

void cross_entropy_backward(Stream& stream, const Tensor& logits, const Tensor& targets,
                            int64_t first_col, const Tensor& lse, float scale) {
  using T = float;
  parallel_pieces(
      stream, logits.size(0), 1, 2 * logits.bytes(),
      [num_cols = logits.size(1), logits = logits.data<T>(), targets = targets.data<int32_t>(),
       first_col, lse = lse.data<float>(), scale](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t) {
          T* row = logits + t * num_cols;
          if (targets[t] < 0) {
            __builtin_memset(row, 0, static_cast<size_t>(num_cols) * sizeof(T));
            continue;
          }
          const int64_t target = targets[t] - first_col;
          const bool here = target >= 0 && target < num_cols;
          const float logit = here ? load(row + target) : 0.0f;
          gradient_row(row, num_cols, lse[t], scale);
          if (here) store(scale * (functors::exp(logit - lse[t]) - 1.0f), row + target);
        }
      });
}

// A few numbers a row: the C library's functions are fast enough and exact to the last bit.
void cross_entropy_lse(Stream&, const Tensor& parts, const Tensor& lse,
                       const Tensor& target_logit) {
  const int64_t num_parts = parts.size(0), rows = lse.size(0);
  const float* data = parts.data<float>();
  const auto at = [=](int64_t part, int64_t which, int64_t t) {
    return data[(3 * part + which) * rows + t];
  };
  float *lse_t = lse.data<float>(), *logit_t = target_logit.data<float>();
  for (int64_t t = 0; t < rows; ++t) {
    float max = at(0, 0, t), sum = 0, logit = 0;
    for (int64_t i = 1; i < num_parts; ++i) max = at(i, 0, t) > max ? at(i, 0, t) : max;
    for (int64_t i = 0; i < num_parts; ++i) {
      sum += at(i, 1, t) * __builtin_expf(at(i, 0, t) - max);
      logit += at(i, 2, t);
    }
    lse_t[t] = max + __builtin_logf(sum);
    logit_t[t] = logit;
  }
}

// On one thread: a number per token is little work, and the order stays the same.
void cross_entropy_loss(Stream&, const Tensor& lse, const Tensor& target_logit,
                        const Tensor& targets, const Tensor& loss_sum) {
  const float *lse_t = lse.data<float>(), *logit_t = target_logit.data<float>();
  const int32_t* target_t = targets.data<int32_t>();
  double sum = 0;
  for (int64_t t = 0; t < lse.size(0); ++t)
    if (target_t[t] >= 0) sum += static_cast<double>(lse_t[t]) - static_cast<double>(logit_t[t]);
  loss_sum.data<double>()[0] += sum;
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
