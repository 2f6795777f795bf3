#include "kernels/adamw.h"

#include <bit>

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
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    const Shape shape = {70001};
    const Tensor p = random_tensor(stream, shape, 4, 1, DType::kBF16),
                 grad = random_tensor(stream, shape, 5);
    const Tensor m = random_tensor(stream, shape, 6), v = zeros(stream, shape);
    kernels::adamw(stream, kStep, p, grad, m, v);
    return {p, m, v};
  }));
}

// A bf16 param is updated as its fp32 value would be, and rounded by the words of its elements.
TEST_CASE("a bf16 param is rounded to a neighbour by the element's random word") {
  on_every_stream([](Stream& stream) {
    for (const int64_t first : {0, 5, 64, 1000003}) {
      const int64_t n = 30001;
      kernels::AdamWStep step = kStep;
      step.rounding_key = 0x123456789abcdef;
      step.rounding_stream = 0xfedcba987654321;
      step.first = first;
      const Tensor p = random_tensor(stream, {n}, 1, 1, DType::kBF16),
                   grad = random_tensor(stream, {n}, 2);
      const Tensor wide = tensor_of<float>(stream, {n}, elements(p));
      const Tensor m = zeros(stream, {n}), v = zeros(stream, {n});
      kernels::adamw(stream, step, wide, grad, copy_of(stream, m), copy_of(stream, v));
      kernels::adamw(stream, step, p, grad, m, v);
      const std::vector<float> exact = elements(wide), got = elements(p);
      int64_t num_wrong = 0;
      for (int64_t i = 0; i < n; ++i) {
        const uint64_t element = static_cast<uint64_t>(first + i);
        const uint32_t random =
            philox(step.rounding_key, element / 4, step.rounding_stream)[element % 4];
        const uint32_t bits = std::bit_cast<uint32_t>(exact[i]);
        num_wrong += std::bit_cast<uint32_t>(got[i]) != ((bits + (random & 0xffff)) & 0xffff0000u);
      }
      CHECK(num_wrong == 0);
    }
  });
}

TEST_CASE("updates too small for bf16 add up") {
  Arena arena(Device{}, 1 << 24);
  Stream stream(arena, 1, available_isas().back());
  const int64_t n = 4096;
  const Tensor p = poisoned(stream, {n}, DType::kBF16), grad = poisoned(stream, {n});
  for_each_element<float>(p, [](float& x) { x = 1; });
  for_each_element<float>(grad, [](float& x) { x = -1; });
  const Tensor m = zeros(stream, {n}), v = zeros(stream, {n});
  kernels::AdamWStep step = kStep;
  step.lr = 1e-4f;  // the neighbour of 1 is 78 of them away
  step.eps = 0;
  step.weight_decay = 0;
  for (step.step = 1; step.step <= 100; ++step.step) {
    step.rounding_key = static_cast<uint64_t>(step.step);
    kernels::adamw(stream, step, p, grad, m, v);
  }
  double mean = 0;
  for (const float x : elements(p)) mean += static_cast<double>(x) / n;
  // 100 steps of a coin with p = 1/78, 0.0078 each: 4096 of them deviate by 1.4e-4.
  CHECK(std::abs(mean - 1.01) < 6e-4);
}

TEST_CASE("a bf16 param that is not finite stays so") {
  Arena arena(Device{}, 1 << 20);
  Stream stream(arena, 1, available_isas().back());
  const Tensor p = tensor_of<float>(stream, {3}, {INFINITY, -INFINITY, NAN});
  const Tensor narrow = poisoned(stream, {3}, DType::kBF16);
  for (int i = 0; i < 3; ++i) narrow.data<BFloat16>()[i] = to_bfloat16(p.data<float>()[i]);
  kernels::AdamWStep step = kStep;
  step.rounding_key = 7;
  kernels::adamw(stream, step, narrow, zeros(stream, {3}), zeros(stream, {3}), zeros(stream, {3}));
  CHECK(elements(narrow)[0] == INFINITY);
  CHECK(elements(narrow)[1] == -INFINITY);
  CHECK(std::isnan(elements(narrow)[2]));
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
