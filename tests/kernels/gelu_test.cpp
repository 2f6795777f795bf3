#include "kernels/gelu.h"

#include "lib/core/error.h"
#include "tests/support/determinism.h"
#include "tests/support/gradients.h"
#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::test;
using kernels::Gelu;

namespace {

constexpr double kTolerance = 3e-7;
constexpr double kPi = 3.14159265358979323846;
const Gelu kKinds[] = {Gelu::kExact, Gelu::kTanh};

double gelu(double x, Gelu kind) {
  if (kind == Gelu::kExact) return x / 2 * std::erfc(-x / std::sqrt(2.0));
  return x / 2 * (1 + std::tanh(std::sqrt(2 / kPi) * (x + 0.044715 * x * x * x)));
}

double gelu_derivative(double x, Gelu kind) {
  if (kind == Gelu::kExact)
    return std::erfc(-x / std::sqrt(2.0)) / 2 + x * std::exp(-x * x / 2) / std::sqrt(2 * kPi);
  const double k = std::sqrt(2 / kPi);
  const double t = std::tanh(k * (x + 0.044715 * x * x * x));
  return (1 + t) / 2 + x / 2 * (1 - t * t) * k * (1 + 3 * 0.044715 * x * x);
}

std::vector<double> reference_y(std::vector<double> x, Gelu kind) {
  for (double& value : x) value = gelu(value, kind);
  return x;
}

std::vector<double> reference_dx(std::vector<double> dy, const std::vector<double>& x, Gelu kind) {
  for (size_t i = 0; i < x.size(); ++i) dy[i] *= gelu_derivative(x[i], kind);
  return dy;
}

}  // namespace

TEST_CASE("gelu forward and backward equal the formulas, and dx may alias dy") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (Gelu kind : kKinds) {
      for (const Shape& shape :
           {Shape{0}, Shape{1}, Shape{3, 17}, Shape{2, 5, 100}, Shape{211, 733}}) {
        const Tensor x = random_tensor(stream, shape, 1, 6, storage),
                     dy = random_tensor(stream, shape, 2, 1, storage);
        const Tensor y = poisoned(stream, shape, storage), dx = poisoned(stream, shape, storage);
        kernels::gelu_forward(stream, x, kind, y);
        CHECK(max_relative_error(y, reference_y(to_doubles(x), kind)) <
              kTolerance + rounding(storage));
        kernels::gelu_backward(stream, dy, x, kind, dx);
        CHECK(max_relative_error(dx, reference_dx(to_doubles(dy), to_doubles(x), kind)) <
              kTolerance + rounding(storage));
        const Tensor in_place = copy_of(stream, dy);
        kernels::gelu_backward(stream, in_place, x, kind, in_place);
        CHECK(same_bits(in_place, dx));
      }
    }
  });
}

TEST_CASE("the exact gelu keeps its relative accuracy in the lower tail") {
  on_every_stream([](Stream& stream) {
    std::vector<float> points;
    for (float x = -12; x < 12; x += 0.01f) points.push_back(x);
    const Tensor x = tensor_of(stream, {static_cast<int64_t>(points.size())}, points);
    const Tensor y = poisoned(stream, x.shape());
    kernels::gelu_forward(stream, x, Gelu::kExact, y);
    const std::vector<float> values = elements(y);
    double worst = 0;
    for (size_t i = 0; i < points.size(); ++i) {
      const double expected = gelu(static_cast<double>(points[i]), Gelu::kExact);
      worst = std::max(worst, std::abs(static_cast<double>(values[i]) / expected - 1));
    }
    CHECK(worst < 1e-6);
  });
}

TEST_CASE("gelu is x far above zero and zero far below") {
  on_every_stream([](Stream& stream) {
    for (Gelu kind : kKinds) {
      const Tensor x = tensor_of<float>(stream, {4}, {-1e4f, -40, 40, 1e4f});
      const Tensor dy = tensor_of<float>(stream, {4}, {1, 1, 1, 1}), y = poisoned(stream, {4});
      kernels::gelu_forward(stream, x, kind, y);
      CHECK(elements(y) == std::vector<float>{0, 0, 40, 1e4f});
      kernels::gelu_backward(stream, dy, x, kind, y);
      CHECK(elements(y) == std::vector<float>{0, 0, 1, 1});
    }
  });
}

TEST_CASE("gelu backward is the gradient of forward") {
  on_every_stream([](Stream& stream) {
    for (Gelu kind : kKinds) {
      const Tensor x = random_tensor(stream, {51}, 3, 4), dy = random_tensor(stream, {51}, 4);
      const Tensor dx = poisoned(stream, {51});
      kernels::gelu_backward(stream, dy, x, kind, dx);
      const std::vector<double> dy0 = to_doubles(dy);
      CHECK(max_relative_error(dx, central_differences(
                                       [&](const std::vector<double>& v) {
                                         return dot(dy0, reference_y(v, kind));
                                       },
                                       to_doubles(x))) < kTolerance);
    }
  });
}

TEST_CASE("gelu gives the same bits for any number of threads") {
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    const Tensor x = random_tensor(stream, {211, 733}, 5, 4), y = poisoned(stream, {211, 733});
    const Tensor dx = poisoned(stream, {211, 733});
    kernels::gelu_forward(stream, x, Gelu::kExact, y);
    kernels::gelu_backward(stream, y, x, Gelu::kTanh, dx);
    return {y, dx};
  }));
}

TEST_CASE("gelu refuses other shapes and dtypes") {
  Arena arena(Device{}, 1 << 20);
  Stream stream(arena, 1, CpuIsa::kV3);
  const Tensor x = poisoned(stream, {4, 3}), y = poisoned(stream, {3, 4});
  CHECK_THROWS_AS(kernels::gelu_forward(stream, x, Gelu::kTanh, y), InvariantError);
  CHECK_THROWS_AS(kernels::gelu_backward(stream, x, x, Gelu::kTanh, y), InvariantError);
  CHECK_THROWS_AS(kernels::gelu_forward(stream, poisoned<BFloat16>(stream, {4, 3}), Gelu::kTanh, x),
                  InvariantError);
}
