// Causal self-attention with grouped queries: one merged QKV product, optional rotary positions,
// attention over the whole sequence, one output product. x, y: [rows, h].
#pragma once

#include "lib/nn/context_parallel.h"
#include "lib/nn/linear.h"

namespace nemo {

class Attention {
 public:
  struct Saved {
    ColumnLinear::Saved qkv_linear;
    AttendSaved attend;           // queries and keys rotated
    RowLinear::Saved out_linear;  // its x is the attention's output [T, heads * d]
  };
  struct Deferred {
    ColumnLinear::Deferred qkv_linear;
    RowLinear::Deferred out_linear;
  };

  // rope_table: of make_rope_table; empty means no rotary positions.
  Attention(AttentionSizes sizes, ColumnLinear qkv, RowLinear out, Tensor rope_table)
      : sizes_(sizes), qkv_(qkv), out_(out), rope_table_(std::move(rope_table)) {}

  Tensor forward(Context& ctx, const MicroBatch& batch, const Tensor& x, Saved& saved) const;
  Tensor backward_input(Context& ctx, const MicroBatch& batch, const Tensor& dy, Saved saved,
                        Deferred& deferred) const;
  void backward_weight(Context& ctx, Deferred deferred) const;
  // Leaves queries, keys and values; over several cp ranks the output too, which would cost its
  // communication again.
  void drop(Context& ctx, Saved& saved) const;
  void restore(Context& ctx, const MicroBatch& batch, const Tensor& x, Saved& saved) const;

 private:
  // [B, S, heads, d] as [T, heads * d].
  Tensor output_rows(const MicroBatch& batch, const Tensor& o) const;
  // [T, n * d] as [B, S, n, d].
  Tensor heads(const MicroBatch& batch, const Tensor& rows) const;
  // The queries and keys of qkv.
  Tensor rotated(const Tensor& qkv) const;

  AttentionSizes sizes_;
  ColumnLinear qkv_;
  RowLinear out_;
  Tensor rope_table_;
};

}  // namespace nemo
