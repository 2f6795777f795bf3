#include "lib/nn/head.h"

#include <algorithm>

#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "lib/nn/tensor_parallel.h"

namespace nemo {
namespace {

// Large enough that the output matrix's gradient is not rewritten too often, small enough that a
// chunk of logits is still in the last-level cache when its gradient is taken.
constexpr int64_t kChunkElements = 1 << 21;
constexpr int64_t kMinChunkRows = 64;

}  // namespace

Tensor Head::forward(Context& ctx, const MicroBatch& batch, const Tensor& x, Saved& saved) const {
  const Tensor weight = ctx.weights.get(table_.weight);
  const Tensor normed = norm_.forward(ctx, x, saved.norm);
  const int64_t rows = normed.size(0);
  const int64_t spread = batch.num_tokens() / rows;
  const int64_t chunk_rows = std::min(rows, rows_of_chunk(ctx, spread));
  const Tensor logits =
      ctx.stream.workspace(DType::kF32, {spread * chunk_rows, weight.size(0)}, "head.logits");
  GradTarget dweight;
  if (ctx.training) {
    saved.dnormed = ctx.activation(normed.shape(), "head.dnormed");
    dweight = ctx.grads.target(table_.weight);
  }
  for (int64_t begin = 0; begin < rows; begin += chunk_rows) {
    const Range range = {begin, std::min(begin + chunk_rows, rows)};
    const Tensor input = enter_tp(ctx, normed.slice(0, range.begin, range.end));
    const Tensor chunk = logits.slice(0, 0, input.size(0));
    kernels::matmul_forward(ctx.stream, input, weight, {}, chunk);
    loss_of_chunk(ctx, targets_of_chunk(ctx, batch, rows, range), chunk);
    if (!ctx.training) continue;
    const Tensor dnormed = saved.dnormed.slice(0, range.begin, range.end);
    const Tensor dinput = spread == 1 ? dnormed : ctx.activation(input.shape(), "head.dinput");
    kernels::matmul_backward_input(ctx.stream, chunk, weight, dinput);
    enter_tp_backward(ctx, dinput, dnormed);
    kernels::matmul_backward_weight(ctx.stream, chunk, input, dweight.grad,
                                    dweight.accumulate || begin > 0);
  }
  return {};
}

// The same on every tp rank, whatever slice of the table it holds.
int64_t Head::rows_of_chunk(const Context& ctx, int64_t spread) const {
  const int64_t width = ceil_div<int64_t>(table_.vocab_size, ctx.mesh[Axis::kTp].size());
  return ceil_div(std::max(kChunkElements / width, kMinChunkRows), spread);
}

// A chunk is the same range of every rank's rows, in the order of ranks.
Tensor Head::targets_of_chunk(Context& ctx, const MicroBatch& batch, int64_t rows,
                              const Range& range) const {
  const Tensor all = batch.targets.view({batch.num_tokens()});
  if (rows == all.size(0)) return all.slice(0, range.begin, range.end);
  const int64_t spread = all.size(0) / rows;
  Tensor targets = ctx.stream.workspace(DType::kI32, {spread * range.size()}, "head.targets");
  for (int64_t i = 0; i < spread; ++i)
    kernels::convert(ctx.stream, all.slice(0, i * rows + range.begin, i * rows + range.end),
                     targets.slice(0, i * range.size(), (i + 1) * range.size()));
  return targets;
}

void Head::loss_of_chunk(Context& ctx, const Tensor& targets, const Tensor& logits) const {
  Communicator& tp = ctx.mesh[Axis::kTp];
  const int64_t rows = logits.size(0);
  const auto workspace = [&](const Shape& shape, const char* name) {
    return ctx.stream.workspace(DType::kF32, shape, name);
  };
  const Tensor part = workspace({3, rows}, "head.part");
  const Tensor parts = workspace({tp.size(), 3, rows}, "head.parts");
  const Tensor lse = workspace({rows}, "head.lse");
  const Tensor target_logit = workspace({rows}, "head.target_logit");
  kernels::cross_entropy_statistics(ctx.stream, logits, targets, table_.first_row, part.at(0),
                                    part.at(1), part.at(2));
  tp.all_gather(part, parts, "cross_entropy").wait(ctx.stream);
  kernels::cross_entropy_lse(ctx.stream, parts, lse, target_logit);
  kernels::cross_entropy_loss(ctx.stream, lse, target_logit, targets, ctx.loss_sum);
  if (ctx.training)
    kernels::cross_entropy_backward(ctx.stream, logits, targets, table_.first_row, lse,
                                    ctx.loss_weight);
}

Tensor Head::backward_input(Context& ctx, const MicroBatch&, const Tensor&, Saved saved,
                            Deferred& deferred) const {
  return norm_.backward_input(ctx, saved.dnormed, {}, std::move(saved.norm), deferred.norm);
}

void Head::backward_weight(Context&, const MicroBatch&, Deferred) const {}

}  // namespace nemo
