// The AdamW optimizer over any ranges of parameters: it owns the moments, the caller the rest.
#pragma once

#include <vector>

#include "lib/device/stream.h"
#include "lib/nn/param.h"
#include "lib/recipe/schema.h"

namespace nemo {

// Elements that are updated together: param [n] fp32, or bf16 and then rounded at random; grad [n]
// fp32.
struct OptimRange {
  Tensor param;
  Tensor grad;
  bool decay;
  // Where they lie: from element `first` of this Param on.
  ParamId id = kNoParam;
  int64_t first = 0;
  uint64_t name_hash = 0;  // of the Param
};

class AdamW {
 public:
  // Moments begin at zero, in the stream's arena. The stream must outlive this. seed: of
  // what rounds bf16 params, besides the step, the Param and the element.
  AdamW(Stream& stream, const OptimConfig& config, std::vector<OptimRange> ranges,
        uint64_t seed = 0);

  // One update of every range with this learning rate; gradients are multiplied by grad_scale.
  void step(double lr, double grad_scale);

 private:
  Stream& stream_;
  OptimConfig config_;
  std::vector<OptimRange> ranges_;
  std::vector<Tensor> moments1_;
  std::vector<Tensor> moments2_;
  uint64_t seed_;
  int64_t num_steps_ = 0;
};

}  // namespace nemo
