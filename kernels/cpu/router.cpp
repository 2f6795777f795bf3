#include "kernels/router.h"

#include "kernels/cpu/row_parts.h"
#include "kernels/functors/exp.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

// Of one token's logits over all experts.
struct Softmax {
  float max = -__FLT_MAX__;
  float sum = 0;

  Softmax(const float* logits, int64_t num_experts) {
    float largest = max, total = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t e = 0; e < num_experts; ++e) largest = logits[e] > largest ? logits[e] : largest;
#pragma omp simd reduction(+ : total)
    for (int64_t e = 0; e < num_experts; ++e) total += functors::exp(logits[e] - largest);
    max = largest, sum = total;
  }
  float probability(float logit) const {
    return functors::exp(logit - max) / sum;
  }
  float log_of_sum() const {
    return __builtin_logf(sum);
  }  // the C library's: once a token
  float lse() const {
    return max + log_of_sum();
  }
};

// The largest of the scores offered so far, in descending order. They lie in the op's outputs, so
// that k has no limit.
struct TopK {
  int64_t k;
  int32_t* experts;
  float* scores;
  int64_t count = 0;

  void offer(float score, int32_t expert) {
    if (count == k && !(score > scores[k - 1])) return;
    int64_t place = count < k ? count++ : k - 1;
    for (; place > 0 && score > scores[place - 1]; --place) {
      scores[place] = scores[place - 1];
      experts[place] = experts[place - 1];
    }
    scores[place] = score;
    experts[place] = expert;
  }
};

void choose_by_logits(const float* logits, int64_t num_experts, TopK top) {
  for (int64_t e = 0; e < num_experts; ++e) top.offer(logits[e], static_cast<int32_t>(e));
}

void choose_by_biased(const Softmax& softmax, const float* logits, const float* bias,
                      int64_t num_experts, TopK top) {
  constexpr int64_t kBlock = 64;
  float scores[kBlock];
  for (int64_t first = 0; first < num_experts; first += kBlock) {
    const int64_t n = num_experts - first < kBlock ? num_experts - first : kBlock;
#pragma omp simd
    for (int64_t i = 0; i < n; ++i)
      scores[i] = softmax.probability(logits[first + i]) + bias[first + i];
    for (int64_t i = 0; i < n; ++i) top.offer(scores[i], static_cast<int32_t>(first + i));
  }
}

void softmax_of_chosen(const float* logits, const int32_t* experts, int64_t k, float* probs) {
  float max = -__FLT_MAX__, sum = 0;
  for (int64_t j = 0; j < k; ++j) max = logits[experts[j]] > max ? logits[experts[j]] : max;
  for (int64_t j = 0; j < k; ++j) sum += probs[j] = functors::exp(logits[experts[j]] - max);
  for (int64_t j = 0; j < k; ++j) probs[j] /= sum;
}

void forward_row(const float* logits, const float* bias, bool pre_softmax, int64_t num_experts,
                 int64_t k, int32_t* experts, float* probs) {
  const TopK top = {k, experts, probs};
  if (!bias) choose_by_logits(logits, num_experts, top);
  if (!bias && !pre_softmax) return softmax_of_chosen(logits, experts, k, probs);
  const Softmax softmax(logits, num_experts);
  if (bias) choose_by_biased(softmax, logits, bias, num_experts, top);
  if (!pre_softmax) return softmax_of_chosen(logits, experts, k, probs);
  for (int64_t j = 0; j < k; ++j) probs[j] = softmax.probability(logits[experts[j]]);
}

// sums as in the contract, of one token.
void add_statistics(const float* logits, const int32_t* experts, int64_t num_experts, int64_t k,
                    double* sums) {
  const Softmax softmax(logits, num_experts);
  float below = 0;  // the mean of max - logit; an expert whose p is 0 adds none, even at -inf
  double* const p_sums = sums + num_experts;
#pragma omp simd reduction(+ : below)
  for (int64_t e = 0; e < num_experts; ++e) {
    const float p = softmax.probability(logits[e]);
    p_sums[e] += static_cast<double>(p);
    below += p == 0.0f ? 0.0f : p * (softmax.max - logits[e]);
  }
  for (int64_t j = 0; j < k; ++j) sums[experts[j]] += 1;
  const double lse = static_cast<double>(softmax.lse());
  sums[2 * num_experts] += lse * lse;
  sums[2 * num_experts + 1] += static_cast<double>(softmax.log_of_sum() + below);
}

struct Backward {
  int64_t num_experts, k;
  const float* logits;
  const int32_t* indices;
  const float *probs, *dprobs;
  bool pre_softmax;
  const float* load;  // null means none
  float z_scale;
  float* dlogits;

  void row(int64_t t) const {
    const int32_t* experts = indices + t * k;
    const float *p = probs + t * k, *dp = dprobs + t * k;
    float mean = 0;
    for (int64_t j = 0; j < k; ++j) mean += p[j] * dp[j];
    float* out = dlogits + t * num_experts;
    if (pre_softmax || load || z_scale != 0)
      through_all(logits + t * num_experts, pre_softmax ? -mean : 0.0f, out);
    else
      __builtin_memset(out, 0, static_cast<size_t>(num_experts) * sizeof(float));
    for (int64_t j = 0; j < k; ++j) out[experts[j]] += p[j] * (pre_softmax ? dp[j] : dp[j] - mean);
  }

  // out = p (load - mean of load + 2 z_scale lse + shift)
  void through_all(const float* logit, float shift, float* out) const {
    const Softmax softmax(logit, num_experts);
    float mean = 0;
#pragma omp simd reduction(+ : mean)
    for (int64_t e = 0; e < num_experts; ++e) {
      out[e] = softmax.probability(logit[e]);
      mean += load ? load[e] * out[e] : 0.0f;
    }
    const float same_for_all = 2 * z_scale * softmax.lse() + shift;
#pragma omp simd
    for (int64_t e = 0; e < num_experts; ++e)
      out[e] *= (load ? load[e] - mean : 0.0f) + same_for_all;
  }
};

}  // namespace

void router_forward(Stream& stream, const Tensor& logits, const Tensor& bias, bool pre_softmax,
                    const Tensor& indices, const Tensor& probs) {
  parallel_pieces(
      stream, logits.size(0), 1, logits.bytes(),
      [=, num_experts = logits.size(1), k = indices.size(1), logits = logits.data<float>(),
       bias = bias ? bias.data<float>() : nullptr, experts = indices.data<int32_t>(),
       probs = probs.data<float>()](int64_t begin, int64_t end) {
        for (int64_t t = begin; t < end; ++t)
          forward_row(logits + t * num_experts, bias, pre_softmax, num_experts, k, experts + t * k,
                      probs + t * k);
      });
}

void router_statistics(Stream& stream, const Tensor& logits, const Tensor& indices,
                       const Tensor& sums) {
  const int64_t rows = logits.size(0), num_experts = logits.size(1), k = indices.size(1);
  const int64_t parts = num_row_parts(rows), n = sums.numel();
  const Tensor partial = stream.workspace(DType::kF64, {parts, n}, "router_statistics");
  double* const part_sums = partial.data<double>();
  parallel_pieces(stream, parts, 1, logits.bytes(),
                  [=, logits = logits.data<float>(), experts = indices.data<int32_t>()](
                      int64_t begin, int64_t end) {
                    for (int64_t part = begin; part < end; ++part) {
                      double* part_sum = part_sums + part * n;
                      for (int64_t i = 0; i < n; ++i) part_sum[i] = 0;
                      const int64_t last = row_part_begin(rows, parts, part + 1);
                      for (int64_t t = row_part_begin(rows, parts, part); t < last; ++t)
                        add_statistics(logits + t * num_experts, experts + t * k, num_experts, k,
                                       part_sum);
                    }
                  });
  if (stream.recording()) return;
  for (int64_t part = 0; part < parts; ++part)
    for (int64_t i = 0; i < n; ++i) sums.data<double>()[i] += part_sums[part * n + i];
}

void router_backward(Stream& stream, const RouterBackward& args, const Tensor& dlogits) {
  const Backward backward = {args.logits.size(1),
                             args.indices.size(1),
                             args.logits.data<float>(),
                             args.indices.data<int32_t>(),
                             args.probs.data<float>(),
                             args.dprobs.data<float>(),
                             args.pre_softmax,
                             args.load ? args.load.data<float>() : nullptr,
                             args.z_scale,
                             dlogits.data<float>()};
  parallel_pieces(stream, dlogits.size(0), 1, 2 * dlogits.bytes(),
                  [&backward](int64_t begin, int64_t end) {
                    for (int64_t t = begin; t < end; ++t) backward.row(t);
                  });
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
