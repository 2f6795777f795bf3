// The feed-forward part: down(act(up(x))), with SwiGLU on a merged gate+up product, or GELU.
// x, y: [rows, h].
#pragma once

#include "lib/nn/linear.h"
#include "lib/recipe/choice.h"

namespace nemo {

class Mlp {
 public:
  struct Saved {
    ColumnLinear::Saved up;
    Tensor up_out;          // [T, 2 ffn] for SwiGLU (gate, then up), else [T, ffn]
    RowLinear::Saved down;  // its x is the activation [T, ffn]
  };
  struct Deferred {
    ColumnLinear::Deferred up;
    RowLinear::Deferred down;
  };

  Mlp(Activation activation, ColumnLinear up, RowLinear down)
      : activation_(activation), up_(up), down_(down) {}

  Tensor forward(Context& ctx, const MicroBatch& batch, const Tensor& x, Saved& saved) const;
  Tensor backward_input(Context& ctx, const MicroBatch& batch, const Tensor& dy, Saved saved,
                        Deferred& deferred) const;
  void backward_weight(Context& ctx, Deferred deferred) const;
  // Leaves up_out.
  void drop(Context& ctx, Saved& saved) const;
  void restore(Context& ctx, const MicroBatch& batch, const Tensor& x, Saved& saved) const;

 private:
  Tensor activate(Context& ctx, const Tensor& up_out) const;
  Tensor activate_backward(Context& ctx, const Tensor& dact, const Tensor& up_out) const;

  Activation activation_;
  ColumnLinear up_;
  RowLinear down_;
};

}  // namespace nemo
