// A run of layers on one rank, and the state of the micro batches that are in flight through it.
// The pipeline runtime calls it by the rows of its schedule; without a pipeline the stage is the
// whole model.
#pragma once

#include <memory>
#include <vector>

#include "lib/nn/module.h"

namespace nemo {

class Stage {
 public:
  // num_slots: micro batches that can be between forward and backward at a time.
  Stage(std::vector<std::unique_ptr<Layer>> layers, int num_slots);

  // x: [T, h] from the stage before, empty on the first; returns the output, empty on the last.
  Tensor forward(Context& ctx, const MicroBatch& batch, Tensor x, int slot);
  // The mirror of forward, each layer B then W. On the step's last micro batch units become final.
  Tensor backward(Context& ctx, const MicroBatch& batch, Tensor dy, int slot, bool is_last);
  // The same in two: B of every layer, which gives dx, and W of every layer, any time later.
  Tensor backward_input(Context& ctx, const MicroBatch& batch, Tensor dy, int slot);
  void backward_weight(Context& ctx, const MicroBatch& batch, int slot, bool is_last);
  // Forward that keeps nothing.
  Tensor evaluate(Context& ctx, const MicroBatch& batch, Tensor x);

 private:
  void acquire(Context& ctx, size_t layer, size_t next);
  void release(Context& ctx, size_t layer);
  void finish(Context& ctx, size_t layer, bool is_last);

  std::vector<std::unique_ptr<Layer>> layers_;
  std::vector<std::vector<std::unique_ptr<Layer::State>>> states_;  // [slot][layer]
  std::vector<std::vector<int>> final_units_;  // by layer: whose last use in a step is its backward
};

}  // namespace nemo
