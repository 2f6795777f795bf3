// Final norm, output product and cross-entropy: x [T, h] in, the sum of the tokens' losses out.
//
// The logits never exist at once. In training, forward works through chunks of rows, and turns each
// chunk of logits into its gradient in place while it is at hand: this saves the product that
// computing them again in backward would cost (a fifth of a 1B model's head). So forward already
// adds the gradient of the output matrix; what backward needs is the gradient of the normed x.
#pragma once

#include "lib/nn/norm.h"

namespace nemo {

class Head {
 public:
  struct Saved {
    Norm::Saved norm;
    Tensor dnormed;  // [T, h]; training only
  };
  struct Deferred {
    Norm::Deferred norm;
  };

  Head(Norm norm, ParamId weight) : norm_(norm), weight_(weight) {}

  // Adds to ctx.loss_sum; returns an empty tensor.
  Tensor forward(Context& ctx, const MicroBatch& batch, const Tensor& x, Saved& saved) const;
  // dy is ignored: the loss is what is differentiated.
  Tensor backward_input(Context& ctx, const MicroBatch& batch, const Tensor& dy, Saved saved,
                        Deferred& deferred) const;
  void backward_weight(Context& ctx, const MicroBatch& batch, Deferred deferred) const;

 private:
  // Loss of rows [begin, begin + logits rows); the logits become their gradient when training.
  void loss_of_chunk(Context& ctx, const Tensor& targets, const Tensor& logits) const;

  Norm norm_;
  ParamId weight_;
};

}  // namespace nemo
