#include "kernels/swiglu.h"

#include "lib/core/error.h"
#include "tests/support/determinism.h"
#include "tests/support/gradients.h"
#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr double kTolerance = 3e-7;
// Of sums over a row, which are added up one by one where the compiler does not vectorise.
constexpr double kSumTolerance = 2e-6;
// Rows and columns of y; the last is large enough for three threads.
const Shape kSizes[] = {{0, 3}, {1, 1}, {5, 17}, {3, 1000}, {211, 257}};

std::vector<double> ones(int64_t n) {
  return std::vector<double>(n, 1.0);
}

std::vector<double> reference_y(const std::vector<double>& gate_up,
                                const std::vector<double>& scale, int64_t f) {
  std::vector<double> y(gate_up.size() / 2);
  for (size_t i = 0; i < y.size(); ++i) {
    const double gate = gate_up[i / f * 2 * f + i % f], up = gate_up[i / f * 2 * f + f + i % f];
    y[i] = scale[i / f] * gate / (1 + std::exp(-gate)) * up;
  }
  return y;
}

struct Gradients {
  std::vector<double> dgate_up, dscale;
};

Gradients reference_gradients(const std::vector<double>& dy, const std::vector<double>& gate_up,
                              const std::vector<double>& scale, int64_t f) {
  Gradients gradients = {std::vector<double>(gate_up.size()), std::vector<double>(scale.size())};
  for (size_t i = 0; i < dy.size(); ++i) {
    const size_t g = i / f * 2 * f + i % f, u = g + f;
    const double s = 1 / (1 + std::exp(-gate_up[g])), scaled = scale[i / f] * dy[i];
    gradients.dgate_up[g] = scaled * gate_up[u] * (s + gate_up[g] * s * (1 - s));
    gradients.dgate_up[u] = scaled * gate_up[g] * s;
    gradients.dscale[i / f] += dy[i] * gate_up[g] * s * gate_up[u];
  }
  return gradients;
}

Shape merged(const Shape& shape) {
  return {shape[0], 2 * shape[1]};
}

}  // namespace

TEST_CASE("swiglu forward and backward equal the formulas, and backward works in place") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Shape& shape : kSizes) {
      const Tensor gate_up = random_tensor(stream, merged(shape), 1, 8, storage);
      const Tensor y = poisoned(stream, shape, storage),
                   dgate_up = poisoned(stream, merged(shape), storage);
      kernels::swiglu_forward(stream, gate_up, Tensor(), y);
      CHECK(max_relative_error(y, reference_y(to_doubles(gate_up), ones(shape[0]), shape[1])) <
            kTolerance + rounding(storage));

      const Tensor dy = random_tensor(stream, shape, 2, 1, storage);
      kernels::swiglu_backward(stream, dy, gate_up, Tensor(), dgate_up, Tensor());
      const Gradients expected =
          reference_gradients(to_doubles(dy), to_doubles(gate_up), ones(shape[0]), shape[1]);
      CHECK(max_relative_error(dgate_up, expected.dgate_up) < kTolerance + rounding(storage));
      const Tensor in_place = copy_of(stream, gate_up);
      kernels::swiglu_backward(stream, dy, in_place, Tensor(), in_place, Tensor());
      CHECK(same_bits(in_place, dgate_up));
    }
  });
}

TEST_CASE("swiglu scales its rows, and backward works in place") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Shape& shape : kSizes) {
      const Tensor gate_up = random_tensor(stream, merged(shape), 1, 8, storage);
      const Tensor scale = random_tensor(stream, {shape[0]}, 6),
                   y = poisoned(stream, shape, storage);
      kernels::swiglu_forward(stream, gate_up, scale, y);
      CHECK(max_relative_error(y, reference_y(to_doubles(gate_up), to_doubles(scale), shape[1])) <
            kTolerance + rounding(storage));

      const Tensor dy = random_tensor(stream, shape, 2, 1, storage),
                   dscale = poisoned(stream, {shape[0]});
      const Tensor dgate_up = poisoned(stream, merged(shape), storage);
      kernels::swiglu_backward(stream, dy, gate_up, scale, dgate_up, dscale);
      const Gradients expected =
          reference_gradients(to_doubles(dy), to_doubles(gate_up), to_doubles(scale), shape[1]);
      CHECK(max_relative_error(dgate_up, expected.dgate_up) < kTolerance + rounding(storage));
      CHECK(max_relative_error(dscale, expected.dscale) < kSumTolerance);
      const Tensor in_place = copy_of(stream, gate_up), dscale_again = poisoned(stream, {shape[0]});
      kernels::swiglu_backward(stream, dy, in_place, scale, in_place, dscale_again);
      CHECK(same_bits(in_place, dgate_up));
      CHECK(same_bits(dscale_again, dscale));
    }
  });
}

TEST_CASE("swiglu backward is the gradient of forward") {
  on_every_stream([](Stream& stream) {
    const Tensor gate_up = random_tensor(stream, {3, 34}, 3, 4),
                 dy = random_tensor(stream, {3, 17}, 4), scale = random_tensor(stream, {3}, 7);
    const Tensor dgate_up = poisoned(stream, {3, 34}), dscale = poisoned(stream, {3});
    kernels::swiglu_backward(stream, dy, gate_up, scale, dgate_up, dscale);
    using Vector = std::vector<double>;
    const auto loss = [dy = to_doubles(dy)](const Vector& x, const Vector& by) {
      return dot(dy, reference_y(x, by, 17));
    };
    const Vector gate_up0 = to_doubles(gate_up), scale0 = to_doubles(scale);
    CHECK(max_relative_error(dgate_up,
                             central_differences([&](const Vector& v) { return loss(v, scale0); },
                                                 gate_up0)) < kTolerance);
    CHECK(max_relative_error(dscale,
                             central_differences([&](const Vector& v) { return loss(gate_up0, v); },
                                                 scale0)) < kTolerance);
  });
}

TEST_CASE("swiglu keeps the relative accuracy of its lower tail") {
  on_every_stream([](Stream& stream) {
    std::vector<float> gate_up;
    for (float z = -80; z < 80; z += 0.1f) gate_up.push_back(z);
    const int64_t f = static_cast<int64_t>(gate_up.size());
    gate_up.resize(2 * gate_up.size(), 1.0f);
    const Tensor y = poisoned(stream, {1, f});
    kernels::swiglu_forward(stream, tensor_of(stream, {1, 2 * f}, gate_up), Tensor(), y);
    double worst = 0;
    for (int64_t i = 0; i < f; ++i) {
      const double z = static_cast<double>(gate_up[i]), silu = z / (1 + std::exp(-z));
      worst = std::max(worst, std::abs(static_cast<double>(elements(y)[i]) / silu - 1));
    }
    CHECK(worst < 4e-7);
  });
}

TEST_CASE("swiglu stays finite where the sigmoid saturates") {
  on_every_stream([](Stream& stream) {
    const Tensor gate_up = tensor_of<float>(stream, {1, 8}, {-1e4f, 1e4f, -100, 100, 3, 3, 3, 3});
    const Tensor y = poisoned(stream, {1, 4}), dy = tensor_of<float>(stream, {1, 4}, {1, 1, 1, 1});
    kernels::swiglu_forward(stream, gate_up, Tensor(), y);
    CHECK(elements(y) == std::vector<float>{0, 3e4f, 0, 300});
    kernels::swiglu_backward(stream, dy, gate_up, Tensor(), gate_up, Tensor());
    CHECK(elements(gate_up) == std::vector<float>{0, 3, 0, 3, 0, 1e4f, 0, 100});
  });
}

TEST_CASE("swiglu gives the same bits for any number of threads") {
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    const Tensor gate_up = random_tensor(stream, {211, 514}, 5, 4);
    const Tensor y = poisoned(stream, {211, 257}), dgate_up = poisoned(stream, {211, 514});
    const Tensor scale = random_tensor(stream, {211}, 6), dscale = poisoned(stream, {211});
    kernels::swiglu_forward(stream, gate_up, scale, y);
    kernels::swiglu_backward(stream, y, gate_up, scale, dgate_up, dscale);
    return {y, dgate_up, dscale};
  }));
}

TEST_CASE("swiglu refuses other shapes and dtypes, and a scale without its gradient") {
  Arena arena(Device{}, 1 << 20);
  Stream stream(arena, 1, CpuIsa::kV3);
  const Tensor y = poisoned(stream, {2, 3}), gate_up = poisoned(stream, {2, 6}), none;
  const Tensor scale = poisoned(stream, {2}), wide = poisoned(stream, {3});
  CHECK_THROWS_AS(kernels::swiglu_forward(stream, y, none, y), InvariantError);
  CHECK_THROWS_AS(kernels::swiglu_forward(stream, poisoned<BFloat16>(stream, {2, 6}), none, y),
                  InvariantError);
  CHECK_THROWS_AS(kernels::swiglu_forward(stream, gate_up, wide, y), InvariantError);
  CHECK_THROWS_AS(kernels::swiglu_backward(stream, y, gate_up, none, y, none), InvariantError);
  CHECK_THROWS_AS(kernels::swiglu_backward(stream, y, gate_up, scale, gate_up, none),
                  InvariantError);
  CHECK_THROWS_AS(kernels::swiglu_backward(stream, y, gate_up, none, gate_up, scale),
                  InvariantError);
  CHECK_THROWS_AS(kernels::swiglu_backward(stream, y, gate_up, scale, gate_up, wide),
                  InvariantError);
}
