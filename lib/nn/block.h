// One transformer block, pre-norm, closed: x in, x out. FeedForward: Mlp or Moe.
//   r = x + attention(norm(x))      y = r + feed_forward(norm(r))
#pragma once

#include "lib/nn/attention.h"
#include "lib/nn/mlp.h"
#include "lib/nn/moe.h"
#include "lib/nn/norm.h"

namespace nemo {

template <typename FeedForward>
class Block {
 public:
  struct Saved {
    Norm::Saved attention_norm;
    Attention::Saved attention;
    Norm::Saved mlp_norm;
    typename FeedForward::Saved mlp;
  };
  struct Deferred {
    Norm::Deferred attention_norm;
    Attention::Deferred attention;
    Norm::Deferred mlp_norm;
    typename FeedForward::Deferred mlp;
  };

  Block(Norm attention_norm, Attention attention, Norm mlp_norm, FeedForward mlp)
      : attention_norm_(attention_norm),
        attention_(std::move(attention)),
        mlp_norm_(mlp_norm),
        mlp_(mlp) {}

  Tensor forward(Context& ctx, const MicroBatch& batch, const Tensor& x, Saved& saved) const;
  Tensor backward_input(Context& ctx, const MicroBatch& batch, const Tensor& dy, Saved saved,
                        Deferred& deferred) const;
  void backward_weight(Context& ctx, const MicroBatch& batch, Deferred deferred) const;
  // All but the residual streams and the products' outputs (README.md says which).
  void drop(Context& ctx, Saved& saved) const;
  void restore(Context& ctx, const MicroBatch& batch, Saved& saved) const;

 private:
  Norm attention_norm_;
  Attention attention_;
  Norm mlp_norm_;
  FeedForward mlp_;
};

extern template class Block<Mlp>;
extern template class Block<Moe>;

}  // namespace nemo
