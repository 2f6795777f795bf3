// A run of layers on one rank, and the state of the micro batches that are in flight through it.
// The pipeline runtime calls it by the rows of its schedule; without a pipeline the stage is the
// whole model.
#pragma once

#include <memory>
#include <vector>

#include "lib/nn/module.h"

namespace nemo {

// A layer's turn to use its weights.
struct Visit {
  const std::vector<int>* units = nullptr;  // null = none
  bool backward = false;
};

class Stage {
 public:
  // num_slots: micro batches that can be between forward and backward at a time.
  Stage(std::vector<std::unique_ptr<Layer>> layers, int num_slots, BackwardPrefetch prefetch);

  // x: [T, h] from the stage before, empty on the first; returns the output, empty on the last.
  // `after`: what this rank visits next.
  Tensor forward(Context& ctx, const MicroBatch& batch, Tensor x, int slot, const Visit& after);
  // The mirror of forward, each layer B then W. is_last: of the step's micro batches.
  Tensor backward(Context& ctx, const MicroBatch& batch, Tensor dy, int slot, bool is_last,
                  const Visit& after);
  // The same in two: B of every layer, which gives dx, and W of every layer, any time later.
  Tensor backward_input(Context& ctx, const MicroBatch& batch, Tensor dy, int slot,
                        const Visit& after);
  void backward_weight(Context& ctx, const MicroBatch& batch, int slot, bool is_last);
  // Forward that keeps nothing.
  Tensor evaluate(Context& ctx, const MicroBatch& batch, Tensor x, const Visit& after);

  // That with which a pass begins.
  Visit first_visit(bool backward) const;

 private:
  void acquire(Context& ctx, size_t layer, const Visit& next);
  void release(Context& ctx, size_t layer, const Visit& next);
  static void gather_ahead(Context& ctx, const Visit& next);
  void complete(Context& ctx, size_t layer, bool is_last);
  Visit visit_of(size_t layer, bool backward) const;

  std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<std::vector<std::unique_ptr<Layer::State>>> states_;  // [slot][layer]
  std::vector<std::vector<int>> complete_units_;  // by layer: whose last use is its backward
  BackwardPrefetch prefetch_;
};

}  // namespace nemo
