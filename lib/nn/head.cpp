#include "lib/nn/head.h"

#include <algorithm>

#include "kernels/cross_entropy.h"
#include "kernels/matmul.h"

namespace nemo {
namespace {

// Large enough that the output matrix's gradient is not rewritten too often, small enough that a
// chunk of logits is still in the last-level cache when its gradient is taken.
constexpr int64_t kChunkElements = 1 << 21;
constexpr int64_t kMinChunkRows = 64;

}  // namespace

Tensor Head::forward(Context& ctx, const MicroBatch& batch, const Tensor& x, Saved& saved) const {
  const Tensor weight = ctx.weights.get(weight_);
  const int64_t rows = batch.num_tokens();
  const int64_t vocab = weight.size(0);
  const int64_t chunk_rows = std::min(rows, std::max(kChunkElements / vocab, kMinChunkRows));
  const Tensor targets = batch.targets.view({rows});
  const Tensor normed = norm_.forward(ctx, x, saved.norm);
  const Tensor logits = ctx.stream.workspace(DType::kF32, {chunk_rows, vocab}, "head.logits");
  GradTarget dweight;
  if (ctx.training) {
    saved.dnormed = ctx.activation(normed.shape(), "head.dnormed");
    dweight = ctx.grads.target(weight_);
  }
  for (int64_t begin = 0; begin < rows; begin += chunk_rows) {
    const int64_t end = std::min(begin + chunk_rows, rows);
    const Tensor chunk = logits.slice(0, 0, end - begin);
    const Tensor input = normed.slice(0, begin, end);
    kernels::matmul_forward(ctx.stream, input, weight, {}, chunk);
    loss_of_chunk(ctx, targets.slice(0, begin, end), chunk);
    if (!ctx.training) continue;
    kernels::matmul_backward_input(ctx.stream, chunk, weight, saved.dnormed.slice(0, begin, end));
    kernels::matmul_backward_weight(ctx.stream, chunk, input, dweight.grad,
                                    dweight.accumulate || begin > 0);
  }
  return {};
}

void Head::loss_of_chunk(Context& ctx, const Tensor& targets, const Tensor& logits) const {
  const Shape rows = {logits.size(0)};
  const Tensor row_max = ctx.stream.workspace(DType::kF32, rows, "head.row_max");
  const Tensor row_sum = ctx.stream.workspace(DType::kF32, rows, "head.row_sum");
  const Tensor target_logit = ctx.stream.workspace(DType::kF32, rows, "head.target_logit");
  const Tensor lse = ctx.stream.workspace(DType::kF32, rows, "head.lse");
  kernels::cross_entropy_statistics(ctx.stream, logits, targets, 0, row_max, row_sum, target_logit);
  kernels::cross_entropy_lse(ctx.stream, row_max, row_sum, lse);
  kernels::cross_entropy_loss(ctx.stream, lse, target_logit, targets, ctx.loss_sum);
  if (ctx.training)
    kernels::cross_entropy_backward(ctx.stream, logits, targets, 0, lse, ctx.loss_weight);
}

Tensor Head::backward_input(Context& ctx, const MicroBatch&, const Tensor&, Saved saved,
                            Deferred& deferred) const {
  return norm_.backward_input(ctx, saved.dnormed, {}, std::move(saved.norm), deferred.norm);
}

void Head::backward_weight(Context&, const MicroBatch&, Deferred) const {}

}  // namespace nemo
