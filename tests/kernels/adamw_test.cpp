#include "kernels/adamw.h"

#include "lib/core/error.h"
#include "tests/support/determinism.h"
#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr kernels::AdamWStep kStep = {.lr = 0.01f,
                                      .beta1 = 0.9f,
                                      .beta2 = 0.95f,
                                      .eps = 1e-3f,
                                      .weight_decay = 0.3f,
                                      .step = 1,
                                      .grad_scale = 0.5f};

struct State {
  std::vector<double> p, m, v;
};

void reference_step(const kernels::AdamWStep& s, const std::vector<double>& grad, State& state) {
  for (size_t i = 0; i < grad.size(); ++i) {
    const double g = grad[i] * s.grad_scale;
    double& p = state.p[i];
    double& m = state.m[i];
    double& v = state.v[i];
    m = s.beta1 * m + (1 - double{s.beta1}) * g;
    v = s.beta2 * v + (1 - double{s.beta2}) * g * g;
    const double m_hat = m / (1 - std::pow(double{s.beta1}, s.step));
    const double v_hat = v / (1 - std::pow(double{s.beta2}, s.step));
    p = p * (1 - double{s.lr} * s.weight_decay) - s.lr * m_hat / (std::sqrt(v_hat) + s.eps);
  }
}

Tensor zeros(Stream& stream, const Shape& shape) {
  return tensor_of<float>(stream, shape, std::vector<float>(shape.numel(), 0.0f));
}

}  // namespace

TEST_CASE("five AdamW steps equal the formula") {
  on_every_stream([](Stream& stream) {
    for (int64_t n : {0, 1, 17, 1000, 70001}) {
      const Tensor p = random_tensor(stream, {n}, 1), m = zeros(stream, {n}),
                   v = zeros(stream, {n});
      State expected = {to_doubles(p), to_doubles(m), to_doubles(v)};
      for (int t = 1; t <= 5; ++t) {
        kernels::AdamWStep step = kStep;
        step.step = t;
        step.lr = 0.01f / static_cast<float>(t);
        const Tensor grad = random_tensor(stream, {n}, 10 + t, 0.1);
        kernels::adamw(stream, step, p, grad, m, v);
        reference_step(step, to_doubles(grad), expected);
        CHECK(max_relative_error(p, expected.p) < 3e-7);
        CHECK(max_relative_error(m, expected.m) < 3e-7);
        CHECK(max_relative_error(v, expected.v) < 5e-7);
      }
    }
  });
}

TEST_CASE("the bias correction holds late in a run") {
  on_every_stream([](Stream& stream) {
    kernels::AdamWStep step = kStep;
    step.beta2 = 0.9999f;
    step.step = 3;  // 1 - beta2^3 loses three digits in fp32
    const Tensor p = zeros(stream, {100}), grad = random_tensor(stream, {100}, 2, 1e-2);
    const Tensor m = zeros(stream, {100}), v = zeros(stream, {100});
    State expected = {to_doubles(p), to_doubles(m), to_doubles(v)};
    kernels::adamw(stream, step, p, grad, m, v);
    reference_step(step, to_doubles(grad), expected);
    CHECK(max_relative_error(p, expected.p) < 3e-7);
  });
}

TEST_CASE("weight decay alone shrinks, and a zero gradient moves nothing else") {
  on_every_stream([](Stream& stream) {
    const Tensor p = random_tensor(stream, {33}, 3), zero = zeros(stream, {33});
    std::vector<float> expected = elements(p);
    for (float& value : expected) value *= static_cast<float>(1 - double{0.01f} * 0.3f);
    kernels::adamw(stream, kStep, p, zero, zeros(stream, {33}), zeros(stream, {33}));
    CHECK(elements(p) == expected);
    CHECK(elements(zero) == std::vector<float>(33, 0.0f));
  });
}

TEST_CASE("adamw gives the same bits for any number of threads") {
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    const Shape shape = {70001};
    const Tensor p = random_tensor(stream, shape, 4), grad = random_tensor(stream, shape, 5);
    const Tensor m = random_tensor(stream, shape, 6), v = zeros(stream, shape);
    kernels::adamw(stream, kStep, p, grad, m, v);
    return {p, m, v};
  }));
}

TEST_CASE("adamw refuses step 0, other shapes and dtypes") {
  Arena arena(Device{}, 1 << 20);
  Stream stream(arena, 1, CpuIsa::kV3);
  const Tensor x = zeros(stream, {4}), y = zeros(stream, {5});
  kernels::AdamWStep step = kStep;
  CHECK_THROWS_AS(kernels::adamw(stream, step, x, x, y, x), InvariantError);
  CHECK_THROWS_AS(kernels::adamw(stream, step, x, poisoned<BFloat16>(stream, {4}), x, x),
                  InvariantError);
  step.step = 0;
  CHECK_THROWS_AS(kernels::adamw(stream, step, x, x, x, x), InvariantError);
}
