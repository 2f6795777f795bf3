#include "lib/nn/block.h"

#include "kernels/elementwise.h"

namespace nemo {

template <typename FeedForward>
Tensor Block<FeedForward>::forward(Context& ctx, const MicroBatch& batch, const Tensor& x,
                                   Saved& saved) const {
  Tensor normed = attention_norm_.forward(ctx, x, saved.attention_norm);
  const Tensor attended = attention_.forward(ctx, batch, normed, saved.attention);
  normed = mlp_norm_.forward_add(ctx, x, attended, saved.mlp_norm);
  const Tensor residual = saved.mlp_norm.x;
  Tensor y = mlp_.forward(ctx, batch, normed, saved.mlp);
  kernels::add(ctx.stream, residual, y, y);
  return y;
}

template <typename FeedForward>
Tensor Block<FeedForward>::backward_input(Context& ctx, const MicroBatch& batch, const Tensor& dy,
                                          Saved saved, Deferred& deferred) const {
  Tensor dnormed = mlp_.backward_input(ctx, batch, dy, std::move(saved.mlp), deferred.mlp);
  const Tensor dresidual =
      mlp_norm_.backward_input(ctx, dnormed, dy, std::move(saved.mlp_norm), deferred.mlp_norm);
  dnormed = attention_.backward_input(ctx, batch, dresidual, std::move(saved.attention),
                                      deferred.attention);
  return attention_norm_.backward_input(ctx, dnormed, dresidual, std::move(saved.attention_norm),
                                        deferred.attention_norm);
}

template <typename FeedForward>
void Block<FeedForward>::backward_weight(Context& ctx, const MicroBatch&, Deferred deferred) const {
  mlp_.backward_weight(ctx, std::move(deferred.mlp));
  attention_.backward_weight(ctx, std::move(deferred.attention));
}

template <typename FeedForward>
void Block<FeedForward>::drop(Context& ctx, Saved& saved) const {
  attention_norm_.drop(saved.attention_norm);
  attention_.drop(ctx, saved.attention);
  mlp_norm_.drop(saved.mlp_norm);
  mlp_.drop(ctx, saved.mlp);
}

template <typename FeedForward>
void Block<FeedForward>::restore(Context& ctx, const MicroBatch& batch, Saved& saved) const {
  Tensor normed = attention_norm_.forward(ctx, saved.attention_norm.x, saved.attention_norm);
  attention_.restore(ctx, batch, normed, saved.attention);
  normed = mlp_norm_.forward(ctx, saved.mlp_norm.x, saved.mlp_norm);
  mlp_.restore(ctx, batch, normed, saved.mlp);
}

template class Block<Mlp>;
template class Block<Moe>;

}  // namespace nemo
