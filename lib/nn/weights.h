// The two interfaces through which modules meet their weights and gradients. Sharding strategies
// implement them; modules never know which one is at work.
#pragma once

#include "lib/device/tensor.h"
#include "lib/nn/param.h"

namespace nemo {

// Weights that come and go. A layer's units are acquired before it runs and released after.
class WeightProvider {
 public:
  virtual ~WeightProvider() = default;
  // Begin to bring a unit's weights, ahead of acquire; those that are there stay until then.
  virtual void gather_ahead(int unit) = 0;
  // From here to release, get() works for the unit's params.
  virtual void acquire(int unit) = 0;
  virtual Tensor get(ParamId id) const = 0;
  virtual void release(int unit) = 0;
};

// Where a parameter's gradient goes. The first use of a step assigns, later ones add.
struct GradTarget {
  Tensor grad;  // fp32, the Param's shape
  bool accumulate;
};

class GradSink {
 public:
  virtual ~GradSink() = default;
  // Each call is one use: the caller writes the whole gradient of this use before the next call.
  virtual GradTarget target(ParamId id) = 0;
  // The unit's gradients of this micro batch are complete on this rank; is_last: so are those of
  // the step.
  virtual void mark_complete(int unit, bool is_last) = 0;
};

}  // namespace nemo
