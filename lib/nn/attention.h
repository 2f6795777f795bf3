// Causal self-attention with grouped queries: one merged QKV product, optional rotary positions,
// attention, one output product. x, y: [rows, h].
#pragma once

#include "lib/nn/linear.h"

namespace nemo {

struct AttentionSizes {
  int64_t num_heads;   // on this rank
  int64_t num_groups;  // key/value heads on this rank
  int64_t head_dim;
};

class Attention {
 public:
  struct Saved {
    ColumnLinear::Saved qkv_linear;
    Tensor qkv;                   // [B, S, (heads + 2 groups) * d], queries and keys rotated
    Tensor lse;                   // [B, heads, S]
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

 private:
  // Views of packed [B, S, (heads + 2 groups) * d] as [B, S, n, d].
  struct Heads {
    Tensor q, k, v;
    Tensor rotated;  // q and k together
  };
  Heads split(const Tensor& qkv) const;
  float scale() const;

  AttentionSizes sizes_;
  ColumnLinear qkv_;
  RowLinear out_;
  Tensor rope_table_;
};

}  // namespace nemo
