// Where one rank's weights and gradients live, and what the optimizer updates: what a data-parallel
// or sharding strategy is to the rest of the program.
#pragma once

#include <vector>

#include "lib/nn/weights.h"
#include "lib/optim/adamw.h"

namespace nemo {

class ParameterState : public WeightProvider, public GradSink {
 public:
  // After the last backward of a step: when this returns the gradients of ranges() are the sums
  // over every rank that saw other tokens, and the next use of each begins anew.
  virtual void finish_grads() = 0;
  // What this rank updates, at most one range for each parameter, in order.
  virtual const std::vector<OptimRange>& ranges() const = 0;
};

}  // namespace nemo
