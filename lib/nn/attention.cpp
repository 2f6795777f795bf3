#include "lib/nn/attention.h"

#include <cmath>

#include "kernels/attention.h"
#include "kernels/rope.h"

namespace nemo {

using kernels::AttentionMask;

Tensor Attention::forward(Context& ctx, const MicroBatch& batch, const Tensor& x,
                          Saved& saved) const {
  const int64_t heads_width = sizes_.num_heads * sizes_.head_dim;
  const Tensor qkv = qkv_.forward(ctx, x, saved.qkv_linear);
  saved.qkv = qkv.view({batch.batch(), batch.seq(), qkv.size(1)});
  const Heads heads = split(saved.qkv);
  if (rope_table_) kernels::rope_forward(ctx.stream, heads.rotated, batch.positions, rope_table_);

  const Tensor o = ctx.activation({batch.num_tokens(), heads_width}, "attention.o");
  saved.lse = ctx.activation({batch.batch(), sizes_.num_heads, batch.seq()}, "attention.lse");
  kernels::attention_forward(
      ctx.stream, heads.q, heads.k, heads.v, AttentionMask::kCausal, scale(),
      o.view({batch.batch(), batch.seq(), sizes_.num_heads, sizes_.head_dim}), saved.lse);
  return out_.forward(ctx, o, saved.out_linear);
}

Tensor Attention::backward_input(Context& ctx, const MicroBatch& batch, const Tensor& dy,
                                 Saved saved, Deferred& deferred) const {
  const Shape o_shape = {batch.batch(), batch.seq(), sizes_.num_heads, sizes_.head_dim};
  const Tensor o = saved.out_linear.x;
  const Tensor dqkv = ctx.activation(saved.qkv.shape(), "attention.dqkv");
  const Heads heads = split(saved.qkv);
  const Heads dheads = split(dqkv);
  {
    const Tensor doutput =
        out_.backward_input(ctx, dy, std::move(saved.out_linear), deferred.out_linear);
    kernels::attention_backward(ctx.stream, {.doutput = doutput.view(o_shape),
                                             .q = heads.q,
                                             .k = heads.k,
                                             .v = heads.v,
                                             .o = o.view(o_shape),
                                             .lse = saved.lse,
                                             .mask = AttentionMask::kCausal,
                                             .scale = scale(),
                                             .dq = dheads.q,
                                             .dk = dheads.k,
                                             .dv = dheads.v});
  }
  if (rope_table_) kernels::rope_backward(ctx.stream, dheads.rotated, batch.positions, rope_table_);
  return qkv_.backward_input(ctx, dqkv.view({batch.num_tokens(), dqkv.size(2)}),
                             std::move(saved.qkv_linear), deferred.qkv_linear);
}

void Attention::backward_weight(Context& ctx, Deferred deferred) const {
  out_.backward_weight(ctx, std::move(deferred.out_linear));
  qkv_.backward_weight(ctx, std::move(deferred.qkv_linear));
}

Attention::Heads Attention::split(const Tensor& qkv) const {
  const auto [num_heads, num_groups, head_dim] = sizes_;
  const Tensor all = qkv.unflatten(2, num_heads + 2 * num_groups, head_dim);
  return {all.slice(2, 0, num_heads), all.slice(2, num_heads, num_heads + num_groups),
          all.slice(2, num_heads + num_groups, num_heads + 2 * num_groups),
          all.slice(2, 0, num_heads + num_groups)};
}

float Attention::scale() const {
  return 1 / std::sqrt(static_cast<float>(sizes_.head_dim));
}

}  // namespace nemo
