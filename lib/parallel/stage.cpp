#include "lib/parallel/stage.h"

#include <set>

namespace nemo {

Stage::Stage(std::vector<std::unique_ptr<Layer>> layers, int num_slots)
    : layers_(std::move(layers)) {
  for (int slot = 0; slot < num_slots; ++slot) {
    states_.emplace_back();
    for (const auto& layer : layers_) states_.back().push_back(layer->make_state());
  }
  std::set<int> seen;
  for (const auto& layer : layers_) {
    final_units_.emplace_back();
    for (int unit : layer->units())
      if (seen.insert(unit).second) final_units_.back().push_back(unit);
  }
}

Tensor Stage::forward(Context& ctx, const MicroBatch& batch, Tensor x, int slot) {
  auto& states = states_[static_cast<size_t>(slot)];
  for (size_t i = 0; i < layers_.size(); ++i) {
    acquire(ctx, i, i + 1);
    x = layers_[i]->forward(ctx, batch, x, *states[i]);
    release(ctx, i);
  }
  return x;
}

Tensor Stage::backward(Context& ctx, const MicroBatch& batch, Tensor dy, int slot, bool is_last) {
  auto& states = states_[static_cast<size_t>(slot)];
  for (size_t i = layers_.size(); i-- > 0;) {
    acquire(ctx, i, i - 1);
    dy = layers_[i]->backward_input(ctx, batch, dy, *states[i]);
    layers_[i]->backward_weight(ctx, batch, *states[i]);
    release(ctx, i);
    finish(ctx, i, is_last);
  }
  return dy;
}

Tensor Stage::backward_input(Context& ctx, const MicroBatch& batch, Tensor dy, int slot) {
  auto& states = states_[static_cast<size_t>(slot)];
  for (size_t i = layers_.size(); i-- > 0;) {
    acquire(ctx, i, i - 1);
    dy = layers_[i]->backward_input(ctx, batch, dy, *states[i]);
    release(ctx, i);
  }
  return dy;
}

void Stage::backward_weight(Context& ctx, const MicroBatch& batch, int slot, bool is_last) {
  auto& states = states_[static_cast<size_t>(slot)];
  for (size_t i = layers_.size(); i-- > 0;) {
    layers_[i]->backward_weight(ctx, batch, *states[i]);
    finish(ctx, i, is_last);
  }
}

Tensor Stage::evaluate(Context& ctx, const MicroBatch& batch, Tensor x) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    acquire(ctx, i, i + 1);
    x = layers_[i]->forward(ctx, batch, x, *states_[0][i]);
    layers_[i]->discard(*states_[0][i]);
    release(ctx, i);
  }
  return x;
}

// The weights of a layer, with those of the next one on their way.
void Stage::acquire(Context& ctx, size_t layer, size_t next) {
  for (int unit : layers_[layer]->units()) ctx.weights.acquire(unit);
  if (next >= layers_.size()) return;
  for (int unit : layers_[next]->units()) ctx.weights.gather_ahead(unit);
}

void Stage::finish(Context& ctx, size_t layer, bool is_last) {
  if (!is_last) return;
  for (int unit : final_units_[layer]) ctx.grads.mark_final(unit);
}

void Stage::release(Context& ctx, size_t layer) {
  for (int unit : layers_[layer]->units()) ctx.weights.release(unit);
}

}  // namespace nemo
