// Weights and gradients of a test: one tensor for each parameter, nothing sharded, nothing reduced.
#pragma once

#include <vector>

#include "lib/nn/weights.h"

namespace nemo::test {

class PlainWeights final : public WeightProvider, public GradSink {
 public:
  PlainWeights(Arena& arena, const ParamSet& params, DType dtype = DType::kF32) {
    for (const Param& param : params.params()) {
      weights.emplace_back(arena, dtype, param.shape, MemoryCategory::kParameters, "weight");
      grads.emplace_back(arena, DType::kF32, param.shape, MemoryCategory::kGradients, "grad");
    }
    forget_grads();
  }

  void gather_ahead(int) override {}
  void acquire(int) override {}
  Tensor get(ParamId id) const override { return weights[static_cast<size_t>(id)]; }
  void release(int) override {}

  GradTarget target(ParamId id) override {
    const bool accumulate = used_[static_cast<size_t>(id)];
    used_[static_cast<size_t>(id)] = true;
    return {grads[static_cast<size_t>(id)], accumulate};
  }
  void mark_complete(int, bool) override {}

  // The next use of each gradient assigns.
  void forget_grads() { used_.assign(weights.size(), false); }

  std::vector<Tensor> weights;
  std::vector<Tensor> grads;

 private:
  std::vector<bool> used_;
};

}  // namespace nemo::test
