// RMSNorm or LayerNorm of [rows, h], optionally of a sum with the residual stream.
#pragma once

#include "lib/nn/module.h"

namespace nemo {

enum class NormKind { kRms, kLayer };

class Norm {
 public:
  struct Saved {
    Tensor x;     // [rows, h], what was normalised
    Tensor mean;  // [rows], LayerNorm only
    Tensor rstd;  // [rows]
  };
  struct Deferred {};

  // bias: kNoParam for kRms.
  Norm(NormKind kind, ParamId weight, ParamId bias, float eps)
      : kind_(kind), weight_(weight), bias_(bias), eps_(eps) {}

  Tensor forward(Context& ctx, const Tensor& x, Saved& saved) const;
  // Normalises x + delta, the new residual stream, which is left in saved.x.
  Tensor forward_add(Context& ctx, const Tensor& x, const Tensor& delta, Saved& saved) const;

  // Leaves x, from which forward restores the rest.
  void drop(Saved& saved) const;

  // dresidual: the gradient that reaches x past the norm, added to dx; empty means none.
  Tensor backward_input(Context& ctx, const Tensor& dy, const Tensor& dresidual, Saved saved,
                        Deferred& deferred) const;
  void backward_weight(Context& ctx, Deferred deferred) const;

 private:
  Tensor normalise(Context& ctx, const Tensor& x, const Tensor* delta, Saved& saved) const;

  NormKind kind_;
  ParamId weight_;
  ParamId bias_;
  float eps_;
};

}  // namespace nemo
