// The rules every module follows. There is no tape: a module says what forward keeps and how
// backward uses it, and backward reads as the mirror of forward, in the same file.
//
//   struct Saved     what forward keeps for backward, every field with its shape
//   struct Deferred  what B keeps for W, likewise
//   y  = forward(ctx, x, saved)
//   dx = backward_input(ctx, dy, move(saved), deferred)   B: assigns dx
//   backward_weight(ctx, move(deferred))                  W: adds to the parameters' gradients
//
// Saved and Deferred are taken by value: what B no longer needs is free when it returns. Small sums
// that cost nothing beside dx (norm weights) are added in B; a pipeline may put any distance
// between B and W, so nothing else may.
//
// A module that can be recomputed in part (recompute.h) also has
//   drop(ctx, saved)            after forward: lets go of what is cheap to compute again
//   restore(ctx, batch, saved)  before B: computes it again, in the same bits
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lib/nn/recompute.h"

namespace nemo {

// B, then W: the joint backward of any module.
template <typename Module, typename... Inputs>
Tensor backward(const Module& module, Context& ctx, typename Module::Saved saved,
                const Inputs&... inputs) {
  typename Module::Deferred deferred;
  Tensor dx = module.backward_input(ctx, inputs..., std::move(saved), deferred);
  module.backward_weight(ctx, std::move(deferred));
  return dx;
}

// A closed block of the model: what pipelines cut between, sharding gathers and recompute repeats.
// The first layer of a model takes no x and gives no dx; the last takes no dy.
class Layer {
 public:
  // What one micro batch keeps.
  class State {
   public:
    virtual ~State() = default;
  };

  Layer(std::string name, std::vector<int> units)
      : name_(std::move(name)), units_(std::move(units)) {}
  virtual ~Layer() = default;

  const std::string& name() const { return name_; }
  // The units whose weights it reads.
  const std::vector<int>& units() const { return units_; }

  // Made at set-up and used again for every micro batch.
  virtual std::unique_ptr<State> make_state() const = 0;
  virtual Tensor forward(Context& ctx, const MicroBatch& batch, const Tensor& x,
                         State& state) const = 0;
  virtual Tensor backward_input(Context& ctx, const MicroBatch& batch, const Tensor& dy,
                                State& state) const = 0;
  virtual void backward_weight(Context& ctx, const MicroBatch& batch, State& state) const = 0;
  // Drops what forward kept, where no backward follows.
  virtual void discard(State& state) const = 0;

 private:
  std::string name_;
  std::vector<int> units_;
};

template <typename Module>
concept Restorable = requires(const Module& module, Context& ctx, const MicroBatch& batch,
                              typename Module::Saved& saved) {
  module.drop(ctx, saved);
  module.restore(ctx, batch, saved);
};

// A module whose calls take the micro batch, as a Layer.
template <typename Module>
class LayerOf final : public Layer {
 public:
  // recompute: kSelective of a Restorable module only.
  LayerOf(std::string name, std::vector<int> units, Module module,
          Recompute recompute = Recompute::kNone)
      : Layer(std::move(name), std::move(units)),
        module_(std::move(module)),
        recompute_(recompute) {
    NEMO_CHECK(recompute != Recompute::kSelective || Restorable<Module>,
               "[{}] cannot be restored in part", this->name());
  }

  std::unique_ptr<State> make_state() const override { return std::make_unique<ModuleState>(); }

  Tensor forward(Context& ctx, const MicroBatch& batch, const Tensor& x,
                 State& state) const override {
    Tensor y = module_.forward(ctx, batch, x, of(state).saved);
    drop(ctx, x, of(state));
    return y;
  }

  Tensor backward_input(Context& ctx, const MicroBatch& batch, const Tensor& dy,
                        State& state) const override {
    restore(ctx, batch, of(state));
    return module_.backward_input(ctx, batch, dy, std::exchange(of(state).saved, {}),
                                  of(state).deferred);
  }

  void backward_weight(Context& ctx, const MicroBatch& batch, State& state) const override {
    module_.backward_weight(ctx, batch, std::exchange(of(state).deferred, {}));
  }

  void discard(State& state) const override { of(state) = {}; }

 private:
  struct ModuleState final : State {
    typename Module::Saved saved;
    typename Module::Deferred deferred;
    Tensor x;  // under full recompute, in the place of saved
  };
  static ModuleState& of(State& state) { return static_cast<ModuleState&>(state); }

  void drop(Context& ctx, const Tensor& x, ModuleState& kept) const {
    if (recompute_ == Recompute::kFull) {
      kept.saved = {};
      kept.x = x;
    } else if constexpr (Restorable<Module>) {
      if (recompute_ == Recompute::kSelective) module_.drop(ctx, kept.saved);
    }
  }

  void restore(Context& ctx, const MicroBatch& batch, ModuleState& kept) const {
    if (recompute_ == Recompute::kFull) {
      ContextAgain again(ctx);
      module_.forward(*again, batch, std::exchange(kept.x, {}), kept.saved);
    } else if constexpr (Restorable<Module>) {
      if (recompute_ == Recompute::kSelective) module_.restore(ctx, batch, kept.saved);
    }
  }

  Module module_;
  Recompute recompute_;
};

}  // namespace nemo
