// y = x w^T + bias, in the two ways in which a product is divided among the tp ranks. On one rank
// both are the plain product. T: tokens of the micro batch; rows: those of them that this rank
// holds outside what is divided (tensor_parallel.h).
#pragma once

#include "lib/nn/module.h"

namespace nemo {

// Each rank computes its share of the outputs. w: [out, in] and bias: [out], this rank's rows of
// the logical ones. x: [rows, in], y: [T, out].
class ColumnLinear {
 public:
  struct Saved {
    Tensor x;  // [rows, in]: what sequence parallelism gathers is gathered again for W
  };
  struct Deferred {
    Tensor x;   // [rows, in]
    Tensor dy;  // [T, out]
  };

  // bias may be kNoParam.
  ColumnLinear(ParamId weight, ParamId bias) : weight_(weight), bias_(bias) {}

  Tensor forward(Context& ctx, const Tensor& x, Saved& saved) const;
  Tensor backward_input(Context& ctx, const Tensor& dy, Saved saved, Deferred& deferred) const;
  void backward_weight(Context& ctx, Deferred deferred) const;

  ParamId weight() const { return weight_; }

 private:
  ParamId weight_;
  ParamId bias_;
};

// Each rank computes a part of the sum over the inputs. w: [out, in], this rank's columns; bias:
// [out], whole. x: [T, in], y: [rows, out]. Rank 0 alone adds the bias, before the sum; every rank
// computes its whole gradient, so that replicas stay equal in bits.
class RowLinear {
 public:
  struct Saved {
    Tensor x;  // [T, in]
  };
  struct Deferred {
    Tensor x;   // [T, in]
    Tensor dy;  // [T, out]
  };

  // bias may be kNoParam.
  RowLinear(ParamId weight, ParamId bias) : weight_(weight), bias_(bias) {}

  Tensor forward(Context& ctx, const Tensor& x, Saved& saved) const;
  Tensor backward_input(Context& ctx, const Tensor& dy, Saved saved, Deferred& deferred) const;
  void backward_weight(Context& ctx, Deferred deferred) const;

 private:
  ParamId weight_;
  ParamId bias_;
};

}  // namespace nemo
