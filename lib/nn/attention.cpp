#include "lib/nn/attention.h"

#include "kernels/rope.h"

namespace nemo {

Tensor Attention::forward(Context& ctx, const MicroBatch& batch, const Tensor& x,
                          Saved& saved) const {
  Tensor qkv = heads(batch, qkv_.forward(ctx, x, saved.qkv_linear));
  if (rope_table_) kernels::rope_forward(ctx.stream, rotated(qkv), batch.positions, rope_table_);
  const Tensor o = attend(ctx, sizes_, std::move(qkv), saved.attend);
  return out_.forward(ctx, output_rows(batch, o), saved.out_linear);
}

Tensor Attention::backward_input(Context& ctx, const MicroBatch& batch, const Tensor& dy,
                                 Saved saved, Deferred& deferred) const {
  const Tensor o = saved.out_linear.x;
  Tensor dqkv;
  {
    const Tensor doutput =
        out_.backward_input(ctx, dy, std::move(saved.out_linear), deferred.out_linear);
    dqkv = attend_backward(ctx, sizes_, heads(batch, doutput), heads(batch, o),
                           std::move(saved.attend));
  }
  if (rope_table_) kernels::rope_backward(ctx.stream, rotated(dqkv), batch.positions, rope_table_);
  return qkv_.backward_input(ctx, dqkv.view({batch.num_tokens(), dqkv.size(2) * dqkv.size(3)}),
                             std::move(saved.qkv_linear), deferred.qkv_linear);
}

void Attention::backward_weight(Context& ctx, Deferred deferred) const {
  out_.backward_weight(ctx, std::move(deferred.out_linear));
  qkv_.backward_weight(ctx, std::move(deferred.qkv_linear));
}

void Attention::drop(Context& ctx, Saved& saved) const {
  saved.qkv_linear = {};
  if (ctx.mesh[Axis::kCp].size() > 1) return;
  saved.attend.lse = {};
  saved.out_linear = {};
}

void Attention::restore(Context& ctx, const MicroBatch& batch, const Tensor& x,
                        Saved& saved) const {
  saved.qkv_linear = {x};
  if (ctx.mesh[Axis::kCp].size() > 1) return;
  saved.out_linear = {
      output_rows(batch, attend(ctx, sizes_, std::move(saved.attend.qkv), saved.attend))};
}

Tensor Attention::output_rows(const MicroBatch& batch, const Tensor& o) const {
  return o.view({batch.num_tokens(), sizes_.num_heads * sizes_.head_dim});
}

Tensor Attention::heads(const MicroBatch& batch, const Tensor& rows) const {
  return rows.view({batch.batch(), batch.seq(), rows.size(1) / sizes_.head_dim, sizes_.head_dim});
}

Tensor Attention::rotated(const Tensor& qkv) const {
  return qkv.slice(2, 0, sizes_.num_heads + sizes_.num_groups);
}

}  // namespace nemo
