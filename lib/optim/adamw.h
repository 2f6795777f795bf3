// The AdamW optimizer over any ranges of parameters: it owns the moments, the caller the rest.
#pragma once

#include <vector>

#include "lib/device/stream.h"
#include "lib/nn/param.h"
#include "lib/recipe/schema.h"

namespace nemo {

// Elements that are updated together: param and grad [n] fp32.
struct OptimRange {
  Tensor param;
  Tensor grad;
  bool decay;
  // Where they lie: from element `first` of this Param on.
  ParamId id = kNoParam;
  int64_t first = 0;
};

class AdamW {
 public:
  // Moments begin at zero, in the stream's arena. The stream must outlive this.
  AdamW(Stream& stream, const OptimConfig& config, std::vector<OptimRange> ranges);

  // One update of every range with this learning rate; gradients are multiplied by grad_scale.
  void step(double lr, double grad_scale);

 private:
  Stream& stream_;
  OptimConfig config_;
  std::vector<OptimRange> ranges_;
  std::vector<Tensor> moments1_;
  std::vector<Tensor> moments2_;
  int64_t num_steps_ = 0;
};

}  // namespace nemo
