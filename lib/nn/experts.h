// The SwiGLU MLPs of the experts that a rank holds, each over its own run of rows:
//   y = down_e(scale * silu(gate_e x) * (up_e x))
// scale is the router's weight of the row: applied inside, it needs neither y nor another pass in
// backward. With etp ranks each has a share of every expert's width, and y is a part of the sum.
#pragma once

#include <vector>

#include "lib/nn/module.h"

namespace nemo {

class Experts {
 public:
  struct Saved {
    Tensor x;       // [rows, h]
    Tensor scale;   // [rows]
    Tensor up_out;  // [rows, 2 f]: gate, then up
  };
  struct Deferred {
    Tensor x;        // [rows, h]
    Tensor dup_out;  // [rows, 2 f]
    Tensor act;      // [rows, f]
    Tensor dy;       // [rows, h]
    std::vector<int64_t> offsets;
  };

  // up: [E * 2 f, h], gate above up for each expert; down: [E * h, f].
  Experts(ParamId up, ParamId down, int64_t num_experts)
      : up_(up), down_(down), num_experts_(num_experts) {}

  // offsets: E + 1, of the runs (kernels/grouped_matmul.h).
  Tensor forward(Context& ctx, const Tensor& x, const Tensor& scale,
                 const std::vector<int64_t>& offsets, Saved& saved) const;
  // Assigns dscale, [rows].
  Tensor backward_input(Context& ctx, const Tensor& dy, std::vector<int64_t> offsets, Saved saved,
                        Deferred& deferred, const Tensor& dscale) const;
  void backward_weight(Context& ctx, Deferred deferred) const;

 private:
  Tensor activate(Context& ctx, const Tensor& up_out, const Tensor& scale) const;

  ParamId up_, down_;
  int64_t num_experts_;
};

}  // namespace nemo
