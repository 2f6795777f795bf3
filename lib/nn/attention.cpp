#include "lib/nn/attention.h"

#include "kernels/rope.h"

namespace nemo {

Tensor Attention::forward(Context& ctx, const MicroBatch& batch, const Tensor& x,
                          Saved& saved) const {
  Tensor qkv = heads(batch, qkv_.forward(ctx, x, saved.qkv_linear));
  if (rope_table_) kernels::rope_forward(ctx.stream, rotated(qkv), batch.positions, rope_table_);
  const Tensor o =
      ctx.activation({batch.num_tokens(), sizes_.num_heads * sizes_.head_dim}, "attention.o");
  attend(ctx, sizes_, std::move(qkv), o.view(output_shape(batch)), saved.attend);
  return out_.forward(ctx, o, saved.out_linear);
}

Tensor Attention::backward_input(Context& ctx, const MicroBatch& batch, const Tensor& dy,
                                 Saved saved, Deferred& deferred) const {
  const Tensor o = saved.out_linear.x;
  const int64_t width = (sizes_.num_heads + 2 * sizes_.num_groups) * sizes_.head_dim;
  const Tensor dqkv = ctx.activation({batch.num_tokens(), width}, "attention.dqkv");
  {
    const Tensor doutput =
        out_.backward_input(ctx, dy, std::move(saved.out_linear), deferred.out_linear);
    attend_backward(ctx, sizes_, doutput.view(output_shape(batch)), o.view(output_shape(batch)),
                    std::move(saved.attend), heads(batch, dqkv));
  }
  if (rope_table_)
    kernels::rope_backward(ctx.stream, rotated(heads(batch, dqkv)), batch.positions, rope_table_);
  return qkv_.backward_input(ctx, dqkv, std::move(saved.qkv_linear), deferred.qkv_linear);
}

void Attention::backward_weight(Context& ctx, Deferred deferred) const {
  out_.backward_weight(ctx, std::move(deferred.out_linear));
  qkv_.backward_weight(ctx, std::move(deferred.qkv_linear));
}

Tensor Attention::heads(const MicroBatch& batch, const Tensor& qkv) const {
  return qkv.view(
      {batch.batch(), batch.seq(), sizes_.num_heads + 2 * sizes_.num_groups, sizes_.head_dim});
}

Tensor Attention::rotated(const Tensor& heads) const {
  return heads.slice(2, 0, sizes_.num_heads + sizes_.num_groups);
}

Shape Attention::output_shape(const MicroBatch& batch) const {
  return {batch.batch(), batch.seq(), sizes_.num_heads, sizes_.head_dim};
}

}  // namespace nemo
