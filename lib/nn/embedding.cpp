#include "lib/nn/embedding.h"

#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "lib/nn/tensor_parallel.h"

namespace nemo {

Tensor Embedding::forward(Context& ctx, const MicroBatch& batch, const Tensor&, Saved&) const {
  const Tensor table = ctx.weights.get(token_table_.weight);
  Tensor y = ctx.activation({batch.num_tokens(), table.size(1)}, "embedding.y");
  const Tensor tokens = batch.tokens.view({batch.num_tokens()});
  kernels::embedding_forward(ctx.stream, tokens, table, token_table_.first_row, y,
                             /*accumulate=*/false);
  if (position_table_ != kNoParam && ctx.mesh[Axis::kTp].rank() == 0)
    kernels::embedding_forward(ctx.stream, positions_of_tokens(ctx, batch),
                               ctx.weights.get(position_table_), 0, y, /*accumulate=*/true);
  return exit_tp(ctx, y);
}

Tensor Embedding::backward_input(Context& ctx, const MicroBatch&, const Tensor& dy, Saved,
                                 Deferred& deferred) const {
  deferred = {exit_tp_backward(ctx, dy)};
  return {};
}

void Embedding::backward_weight(Context& ctx, const MicroBatch& batch, Deferred deferred) const {
  if (position_table_ != kNoParam) {
    const GradTarget dtable = ctx.grads.target(position_table_);
    kernels::embedding_backward(ctx.stream, positions_of_tokens(ctx, batch), deferred.dy, 0,
                                dtable.grad, dtable.accumulate);
  }
  const GradTarget dtable = ctx.grads.target(token_table_.weight);
  kernels::embedding_backward(ctx.stream, batch.tokens.view({batch.num_tokens()}), deferred.dy,
                              token_table_.first_row, dtable.grad, dtable.accumulate);
}

Tensor Embedding::positions_of_tokens(Context& ctx, const MicroBatch& batch) const {
  Tensor ids = ctx.stream.workspace(DType::kI32, batch.tokens.shape(), "embedding.positions");
  for (int64_t row = 0; row < batch.batch(); ++row)
    kernels::convert(ctx.stream, batch.positions, ids.at(row));
  return ids.view({batch.num_tokens()});
}

}  // namespace nemo
