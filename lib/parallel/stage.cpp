#include "lib/parallel/stage.h"

#include <set>

namespace nemo {

Stage::Stage(std::vector<std::unique_ptr<Layer>> layers, int num_slots, BackwardPrefetch prefetch)
    : layers_(std::move(layers)), prefetch_(prefetch) {
  for (int slot = 0; slot < num_slots; ++slot) {
    states_.emplace_back();
    for (const auto& layer : layers_) states_.back().push_back(layer->make_state());
  }
  std::set<int> seen;
  for (const auto& layer : layers_) {
    complete_units_.emplace_back();
    for (int unit : layer->units())
      if (seen.insert(unit).second) complete_units_.back().push_back(unit);
  }
}

Tensor Stage::forward(Context& ctx, const MicroBatch& batch, Tensor x, int slot,
                      const Visit& after) {
  auto& states = states_[static_cast<size_t>(slot)];
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Visit next = i + 1 < layers_.size() ? visit_of(i + 1, /*backward=*/false) : after;
    acquire(ctx, i, next);
    x = layers_[i]->forward(ctx, batch, x, *states[i]);
    release(ctx, i, next);
  }
  return x;
}

Tensor Stage::backward(Context& ctx, const MicroBatch& batch, Tensor dy, int slot, bool is_last,
                       const Visit& after) {
  auto& states = states_[static_cast<size_t>(slot)];
  for (size_t i = layers_.size(); i-- > 0;) {
    const Visit next = i > 0 ? visit_of(i - 1, /*backward=*/true) : after;
    acquire(ctx, i, next);
    dy = layers_[i]->backward_input(ctx, batch, dy, *states[i]);
    layers_[i]->backward_weight(ctx, batch, *states[i]);
    release(ctx, i, next);
    complete(ctx, i, is_last);
  }
  return dy;
}

Tensor Stage::backward_input(Context& ctx, const MicroBatch& batch, Tensor dy, int slot,
                             const Visit& after) {
  auto& states = states_[static_cast<size_t>(slot)];
  for (size_t i = layers_.size(); i-- > 0;) {
    const Visit next = i > 0 ? visit_of(i - 1, /*backward=*/true) : after;
    acquire(ctx, i, next);
    dy = layers_[i]->backward_input(ctx, batch, dy, *states[i]);
    release(ctx, i, next);
  }
  return dy;
}

void Stage::backward_weight(Context& ctx, const MicroBatch& batch, int slot, bool is_last) {
  auto& states = states_[static_cast<size_t>(slot)];
  for (size_t i = layers_.size(); i-- > 0;) {
    layers_[i]->backward_weight(ctx, batch, *states[i]);
    complete(ctx, i, is_last);
  }
}

Tensor Stage::evaluate(Context& ctx, const MicroBatch& batch, Tensor x, const Visit& after) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Visit next = i + 1 < layers_.size() ? visit_of(i + 1, /*backward=*/false) : after;
    acquire(ctx, i, next);
    x = layers_[i]->forward(ctx, batch, x, *states_[0][i]);
    layers_[i]->discard(*states_[0][i]);
    release(ctx, i, next);
  }
  return x;
}

Visit Stage::first_visit(bool backward) const {
  return visit_of(backward ? layers_.size() - 1 : 0, backward);
}

Visit Stage::visit_of(size_t layer, bool backward) const {
  return {&layers_[layer]->units(), backward};
}

// Those of the next visit come while this layer computes. In backward that is a choice: they can
// come once it has computed, before its own are let go, or not ahead at all. What this layer holds
// and the next visit is for stays in any case: the last layer at the turn from forward to backward.
void Stage::acquire(Context& ctx, size_t layer, const Visit& next) {
  for (int unit : layers_[layer]->units()) ctx.weights.acquire(unit);
  const bool stays = next.units == &layers_[layer]->units();
  if (stays || !next.backward || prefetch_ == BackwardPrefetch::kPre) gather_ahead(ctx, next);
}

void Stage::release(Context& ctx, size_t layer, const Visit& next) {
  if (next.backward && prefetch_ == BackwardPrefetch::kPost) gather_ahead(ctx, next);
  for (int unit : layers_[layer]->units()) ctx.weights.release(unit);
}

void Stage::gather_ahead(Context& ctx, const Visit& next) {
  if (!next.units) return;
  for (int unit : *next.units) ctx.weights.gather_ahead(unit);
}

void Stage::complete(Context& ctx, size_t layer, bool is_last) {
  for (int unit : complete_units_[layer]) ctx.grads.mark_complete(unit, is_last);
}

}  // namespace nemo
