// y = x w^T + bias. x: [T, in], w: [out, in], bias: [out], y: [T, out].
#pragma once

#include "lib/nn/module.h"

namespace nemo {

class Linear {
 public:
  struct Saved {
    Tensor x;  // [T, in]
  };
  struct Deferred {
    Tensor x;   // [T, in]
    Tensor dy;  // [T, out]
  };

  // bias may be kNoParam.
  Linear(ParamId weight, ParamId bias) : weight_(weight), bias_(bias) {}

  Tensor forward(Context& ctx, const Tensor& x, Saved& saved) const;
  Tensor backward_input(Context& ctx, const Tensor& dy, Saved saved, Deferred& deferred) const;
  void backward_weight(Context& ctx, Deferred deferred) const;

  ParamId weight() const { return weight_; }

 private:
  ParamId weight_;
  ParamId bias_;
};

}  // namespace nemo
