// What every module must do, whatever it computes. A module passes when
//   - its gradients are the derivatives of its forward (central differences along random
//   directions)
//   - B, then W at any distance, gives the bits of the joint backward
//   - forward twice gives the same bits, so that recompute is exact; and where a layer recomputes,
//     it gives the bits of the one that keeps, and counts nothing twice
//   - a second backward adds to the parameters' gradients
//   - between forward and backward it keeps as many bytes as expected, and after W none
#pragma once

#include <doctest/doctest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kernels/elementwise.h"
#include "lib/comm/shared/thread_world.h"
#include "lib/core/philox.h"
#include "lib/nn/module.h"
#include "tests/support/plain_weights.h"
#include "tests/support/tensors.h"

namespace nemo::test {

// A layer under test with its parameters, its micro batch and its input.
class Conformance {
 public:
  static constexpr int64_t kBatch = 2;
  static constexpr int64_t kSeq = 6;
  static constexpr int64_t kTokens = kBatch * kSeq;
  static constexpr int32_t kVocab = 11;

  // make(params, arena) adds the layer's parameters and builds it; x_width 0: it takes tokens.
  using Make = std::function<std::unique_ptr<Layer>(ParamSet&, Arena&)>;
  // storage: of weights and activations. Values have the digits of `digits`.
  Conformance(const Make& make, int64_t x_width, DType storage = DType::kF32,
              DType digits = DType::kF32);

  // Of every router under test, in layer 0. It chooses all experts, because a choice that flips is
  // a step that differences cannot follow.
  static ModelConfig model_with_experts() {
    ModelConfig model;
    model.num_layers = 1;
    model.moe = {.num_experts = 4, .top_k = 4, .aux_loss_coeff = 0.7, .z_loss_coeff = 0.3};
    return model;
  }

  // expected_saved: bytes forward keeps beside x and y, or a negative number to leave them.
  void check(int64_t expected_saved_bytes);
  // This layer recomputes what `kept` keeps.
  void check_same_bits(Conformance& kept, int64_t expected_saved_bytes);
  // In 16 bits: what `wide`, the same in fp32, computes of the same values, within what rounding
  // does; and the bits that the rules promise.
  void check_against(Conformance& wide);

 private:
  struct Run {
    std::vector<float> y;
    double loss;
    std::vector<float> dx;
    std::vector<std::vector<float>> dweights;
    std::vector<double> counted;  // the routers' totals of the last forward, after all backwards
    int64_t saved_bytes;
  };

  Tensor random(const Shape& shape, uint64_t id, float scale);
  Context context() {
    return {.stream = stream_,
            .weights = *weights_,
            .grads = *weights_,
            .mesh = mesh_,
            .loss_weight = kLossWeight,
            .aux_loss_weight = kAuxLossWeight,
            .loss_sum = loss_sum_,
            .routers = &routers_,
            .activation_dtype = storage_};
  }
  // The scalar that is differentiated: sum(y * direction), or the weighted loss of a head; and the
  // weighted auxiliary losses of a router.
  double loss_of(const Tensor& y) const;
  double aux_loss() const;
  void forget_losses() {
    kernels::fill(stream_, loss_sum_, 0);
    kernels::fill(stream_, routers_.totals, 0);
  }
  Run run(bool joint, int num_backwards);
  double loss_at();
  void check_gradient(const std::string& what, const Tensor& at,
                      const std::vector<float>& gradient);

  static constexpr float kLossWeight = 1.0f / kTokens;
  static constexpr double kAuxLossWeight = 0.5;

  void check_bits(const Run& joint);

  DType storage_, digits_;
  Arena arena_{Device{}, int64_t{1} << 28};
  Stream stream_{arena_, 2, detect_cpu_isa()};
  ThreadWorld world_{1, std::chrono::seconds(1)};
  std::unique_ptr<Communicator> alone_ = world_.communicator(0);
  DeviceMesh mesh_{*alone_, Grid(Sizes{})};
  WholePartition partition_;
  ParamSet params_{partition_};
  std::unique_ptr<Layer> layer_;
  std::unique_ptr<PlainWeights> weights_;
  MicroBatch batch_;
  Tensor x_;
  Tensor dy_;
  Tensor loss_sum_;
  RouterState routers_ = make_router_state(stream_, model_with_experts());
};

inline Conformance::Conformance(const Make& make, int64_t x_width, DType storage, DType digits)
    : storage_(storage), digits_(digits) {
  layer_ = make(params_, arena_);
  weights_ = std::make_unique<PlainWeights>(arena_, params_, storage);
  for (ParamId id = 0; id < params_.num_params(); ++id)
    kernels::convert(stream_, random(params_[id].shape, 100 + static_cast<uint64_t>(id), 0.5f),
                     weights_->get(id));
  const auto ints = [this](const Shape& shape, int32_t modulus, uint64_t id) {
    Tensor t(arena_, DType::kI32, shape, MemoryCategory::kData, "ints");
    for (int64_t i = 0; i < t.numel(); ++i)
      t.data<int32_t>()[i] =
          id ? static_cast<int32_t>(philox(id, static_cast<uint64_t>(i))[0] % kVocab)
             : static_cast<int32_t>(i % modulus);
    return t;
  };
  batch_ = {ints({kBatch, kSeq}, 0, 5), ints({kBatch, kSeq}, 0, 6), ints({kSeq}, kSeq, 0)};
  if (x_width) x_ = random({kTokens, x_width}, 1, 1.0f);
  loss_sum_ = Tensor(arena_, DType::kF64, {1}, MemoryCategory::kActivations, "loss_sum");
}

inline Tensor Conformance::random(const Shape& shape, uint64_t id, float scale) {
  Tensor t(arena_, storage_, shape, MemoryCategory::kData, "random");
  uint64_t i = 0;
  for_each_element<float>(t, [&](float& x) {
    const int32_t integer = static_cast<int32_t>(philox(9, i++, id)[0]);
    x = rounded({scale * std::ldexp(static_cast<float>(integer), -30)}, digits_)[0];
  });
  return t;
}

inline double Conformance::loss_of(const Tensor& y) const {
  if (!y) return item<double>(loss_sum_) * kLossWeight;
  double sum = aux_loss() * kAuxLossWeight;
  const std::vector<double> ys = to_doubles(y), dys = to_doubles(dy_);
  for (size_t i = 0; i < ys.size(); ++i) sum += ys[i] * dys[i];
  return sum;
}

inline double Conformance::aux_loss() const {
  const MoeConfig moe = model_with_experts().moe;
  const double lse_squares = routers_.totals_of(0).data<double>()[2 * moe.num_experts];
  return item<double>(routers_.aux_of(0)) + moe.z_loss_coeff * lse_squares / kTokens;
}

inline Conformance::Run Conformance::run(bool joint, int num_backwards) {
  const auto floats = [](const Tensor& t) { return t ? elements(t) : std::vector<float>(); };
  Run result;
  weights_->forget_grads();
  Context ctx = context();
  std::vector<std::unique_ptr<Layer::State>> states;
  for (int i = 0; i < num_backwards; ++i) {
    forget_losses();
    states.push_back(layer_->make_state());
    const int64_t before = arena_.report().live_total;
    const Tensor y = layer_->forward(ctx, batch_, x_, *states.back());
    result.saved_bytes =
        arena_.report().live_total - before - (y ? round_up(y.bytes(), Arena::kAlignment) : 0);
    if (y && !dy_) dy_ = random(y.shape(), 2, 1.0f);
    result.y = floats(y);
    result.loss = loss_of(y);
    if (!joint) continue;
    result.dx = floats(layer_->backward_input(ctx, batch_, dy_, *states.back()));
    layer_->backward_weight(ctx, batch_, *states.back());
  }
  const int64_t live = arena_.report().live_total;
  if (!joint) {
    for (auto& state : states) result.dx = floats(layer_->backward_input(ctx, batch_, dy_, *state));
    for (auto& state : states) layer_->backward_weight(ctx, batch_, *state);
  }
  states.clear();
  CHECK(arena_.report().live_total <= live);
  for (const Tensor& grad : weights_->grads) result.dweights.push_back(floats(grad));
  const double* totals = routers_.totals.data<double>();
  result.counted.assign(totals, totals + routers_.totals.numel());
  return result;
}

inline double Conformance::loss_at() {
  Context ctx = context();
  forget_losses();
  const auto state = layer_->make_state();
  return loss_of(layer_->forward(ctx, batch_, x_, *state));
}

// Along three random directions, with Richardson's extrapolation of two central differences.
inline void Conformance::check_gradient(const std::string& what, const Tensor& at,
                                        const std::vector<float>& gradient) {
  REQUIRE(static_cast<int64_t>(gradient.size()) == at.numel());
  const std::vector<float> origin(at.data<float>(), at.data<float>() + at.numel());
  for (uint64_t direction = 0; direction < 3; ++direction) {
    const Tensor u = random(at.shape(), 200 + direction, 1.0f);
    const auto slope = [&](double step) {
      double loss[2];
      for (int side = 0; side < 2; ++side) {
        for (size_t i = 0; i < origin.size(); ++i)
          at.data<float>()[i] =
              origin[i] + static_cast<float>((side ? -step : step)) * u.data<float>()[i];
        loss[side] = loss_at();
      }
      return (loss[0] - loss[1]) / (2 * step);
    };
    const double coarse = slope(8e-3);
    const double fine = slope(4e-3);
    std::memcpy(at.raw(), origin.data(), origin.size() * sizeof(float));
    double expected = 0, norm = 0;
    for (size_t i = 0; i < gradient.size(); ++i) {
      expected += static_cast<double>(gradient[i]) * u.data<float>()[i];
      norm += static_cast<double>(gradient[i]) * gradient[i];
    }
    CAPTURE(what);
    CAPTURE(direction);
    CHECK(std::abs((4 * fine - coarse) / 3 - expected) <= 1e-3 * (std::sqrt(norm) + 1e-3));
  }
}

inline void Conformance::check(int64_t expected_saved_bytes) {
  const Run joint = run(/*joint=*/true, 1);
  for (float v : joint.y) REQUIRE(std::isfinite(v));
  CHECK(joint.saved_bytes == expected_saved_bytes);
  if (x_) check_gradient("x", x_, joint.dx);
  for (ParamId id = 0; id < params_.num_params(); ++id)
    check_gradient(params_[id].name, weights_->get(id), joint.dweights[static_cast<size_t>(id)]);

  check_bits(joint);
  const Run twice = run(true, 2);
  for (size_t i = 0; i < twice.dweights.size(); ++i)
    for (size_t j = 0; j < twice.dweights[i].size(); ++j) {
      const float expected = 2 * joint.dweights[i][j];
      CHECK(std::abs(twice.dweights[i][j] - expected) <= 1e-5f * (std::abs(expected) + 0.1f));
    }
}

// The same again, and with W apart from B.
inline void Conformance::check_bits(const Run& joint) {
  const Run again = run(true, 1);
  CHECK(again.y == joint.y);
  CHECK(again.loss == joint.loss);
  CHECK(again.dx == joint.dx);
  CHECK(again.dweights == joint.dweights);

  const Run split = run(/*joint=*/false, 1);
  CHECK(split.dx == joint.dx);
  CHECK(split.dweights == joint.dweights);

  CHECK(run(false, 2).dweights == run(true, 2).dweights);
}

// ||a - b|| / ||b||.
inline double relative_distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, whole = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference += std::pow(static_cast<double>(a[i]) - b[i], 2);
    whole += std::pow(static_cast<double>(b[i]), 2);
  }
  return whole > 0 ? std::sqrt(difference / whole) : difference;
}

inline void Conformance::check_against(Conformance& wide) {
  // A value passes fewer than a dozen tensors on its way through a block and back, and the
  // independent roundings of each, of at most this, add up as their root does: to four of them. The
  // terms of a sum over tokens may cancel, which leaves twice that.
  const double bound = 8 * rounding(storage_);
  const Run expected = wide.run(true, 1), joint = run(true, 1);
  CAPTURE(to_string(storage_));
  // A loss that is a sum over y cancels as it likes.
  if (joint.y.empty()) CHECK(std::abs(joint.loss / expected.loss - 1) <= bound);
  REQUIRE(joint.y.size() == expected.y.size());
  REQUIRE(joint.dx.size() == expected.dx.size());
  CHECK(relative_distance(joint.y, expected.y) <= bound);
  CHECK(relative_distance(joint.dx, expected.dx) <= bound);
  for (ParamId id = 0; id < params_.num_params(); ++id) {
    const size_t i = static_cast<size_t>(id);
    CAPTURE(params_[id].name);
    CHECK(relative_distance(joint.dweights[i], expected.dweights[i]) <= bound);
  }
  check_bits(joint);
}

inline void Conformance::check_same_bits(Conformance& kept, int64_t expected_saved_bytes) {
  for (const bool joint : {true, false})
    for (const int num_backwards : {1, 2}) {
      CAPTURE(joint);
      CAPTURE(num_backwards);
      const Run expected = kept.run(joint, num_backwards), actual = run(joint, num_backwards);
      CHECK(actual.saved_bytes == expected_saved_bytes);
      CHECK(actual.y == expected.y);
      CHECK(actual.loss == expected.loss);
      CHECK(actual.dx == expected.dx);
      CHECK(actual.dweights == expected.dweights);
      CHECK(actual.counted == expected.counted);
    }
}

}  // namespace nemo::test
