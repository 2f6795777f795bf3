#include "kernels/rmsnorm.h"

#include "lib/core/error.h"
#include "tests/support/determinism.h"
#include "tests/support/gradients.h"
#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr float kEps = 0.1f;  // large enough to matter
constexpr double kTolerance = 2e-6;
// Rows and columns; the last is large enough for three threads.
const Shape kSizes[] = {{1, 1}, {2, 3}, {5, 17}, {3, 1000}, {211, 257}};

struct Reference {
  std::vector<double> y, rstd, dx, dweight;
};

std::vector<double> reference_rstd(const std::vector<double>& x, int64_t h) {
  std::vector<double> rstd(x.size() / h);
  for (size_t t = 0; t < rstd.size(); ++t) {
    double squares = 0;
    for (int64_t j = 0; j < h; ++j) squares += x[t * h + j] * x[t * h + j];
    rstd[t] = 1 / std::sqrt(squares / static_cast<double>(h) + kEps);
  }
  return rstd;
}

std::vector<double> reference_y(const std::vector<double>& x, const std::vector<double>& weight) {
  const int64_t h = static_cast<int64_t>(weight.size());
  const std::vector<double> rstd = reference_rstd(x, h);
  std::vector<double> y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * rstd[i / h] * weight[i % h];
  return y;
}

// dx is without the residual, dweight without what was there.
Reference reference(const std::vector<double>& x, const std::vector<double>& weight,
                    const std::vector<double>& dy) {
  const int64_t h = static_cast<int64_t>(weight.size());
  Reference r{reference_y(x, weight), reference_rstd(x, h), std::vector<double>(x.size()),
              std::vector<double>(h)};
  for (size_t t = 0; t < r.rstd.size(); ++t) {
    double mean = 0;
    for (int64_t j = 0; j < h; ++j) {
      const size_t i = t * h + j;
      mean += dy[i] * weight[j] * x[i] * r.rstd[t] / static_cast<double>(h);
      r.dweight[j] += dy[i] * x[i] * r.rstd[t];
    }
    for (int64_t j = 0; j < h; ++j) {
      const size_t i = t * h + j;
      r.dx[i] = r.rstd[t] * (dy[i] * weight[j] - x[i] * r.rstd[t] * mean);
    }
  }
  return r;
}

}  // namespace

TEST_CASE("rmsnorm forward equals the formula") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Shape& shape : kSizes) {
      const Tensor x = random_tensor(stream, shape, 1, 3, storage),
                   weight = random_tensor(stream, {shape[1]}, 2, 1, storage);
      const Tensor y = poisoned(stream, shape, storage), rstd = poisoned(stream, {shape[0]});
      kernels::rmsnorm_forward(stream, x, weight, kEps, y, rstd);
      CHECK(max_relative_error(y, reference_y(to_doubles(x), to_doubles(weight))) <
            kTolerance + rounding(storage));
      CHECK(max_relative_error(rstd, reference_rstd(to_doubles(x), shape[1])) < kTolerance);
    }
  });
}

TEST_CASE("add_rmsnorm is an addition and a norm, and sum may alias either term") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Shape& shape : kSizes) {
      const Tensor x = random_tensor(stream, shape, 3, 3, storage),
                   delta = random_tensor(stream, shape, 4, 1, storage),
                   weight = random_tensor(stream, {shape[1]}, 5);
      const Tensor sum = poisoned(stream, shape, storage), y = poisoned(stream, shape, storage),
                   rstd = poisoned(stream, {shape[0]});
      kernels::add_rmsnorm_forward(stream, x, delta, weight, kEps, sum, y, rstd);
      CHECK(max_relative_error(sum, sum_of(to_doubles(x), to_doubles(delta))) <
            kTolerance + rounding(storage));

      const Tensor plain_y = poisoned(stream, shape, storage),
                   plain_rstd = poisoned(stream, {shape[0]});
      kernels::rmsnorm_forward(stream, sum, weight, kEps, plain_y, plain_rstd);
      CHECK(same_bits(y, plain_y));
      CHECK(same_bits(rstd, plain_rstd));

      for (int aliased : {0, 1}) {
        const Tensor a = copy_of(stream, x), b = copy_of(stream, delta),
                     again = poisoned(stream, shape, storage);
        kernels::add_rmsnorm_forward(stream, a, b, weight, kEps, aliased ? b : a, again, rstd);
        CHECK(same_bits(aliased ? b : a, sum));
        CHECK(same_bits(again, y));
      }
    }
  });
}

TEST_CASE("rmsnorm backward equals the formula, with and without residual, = and +=") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Shape& shape : kSizes) {
      const Tensor x = random_tensor(stream, shape, 6, 3, storage),
                   weight = random_tensor(stream, {shape[1]}, 7),
                   dy = random_tensor(stream, shape, 8, 1, storage);
      const Tensor residual = random_tensor(stream, shape, 9, 1, storage),
                   rstd = poisoned(stream, {shape[0]});
      kernels::rmsnorm_forward(stream, x, weight, kEps, poisoned(stream, shape, storage), rstd);
      const Reference expected = reference(to_doubles(x), to_doubles(weight), to_doubles(dy));

      const Tensor dx = poisoned(stream, shape, storage), dweight = poisoned(stream, {shape[1]});
      kernels::rmsnorm_backward(stream, dy, x, weight, rstd, Tensor(), dx, dweight, false);
      CHECK(max_relative_error(dx, expected.dx) < kTolerance + rounding(storage));
      CHECK(max_relative_error(dweight, expected.dweight) < kTolerance);

      const Tensor with_residual = poisoned(stream, shape, storage),
                   accumulated = copy_of(stream, weight);
      kernels::rmsnorm_backward(stream, dy, x, weight, rstd, residual, with_residual, accumulated,
                                true);
      CHECK(max_relative_error(with_residual, sum_of(expected.dx, to_doubles(residual))) <
            kTolerance + rounding(storage));
      CHECK(max_relative_error(accumulated, sum_of(expected.dweight, to_doubles(weight))) <
            kTolerance);

      for (int aliased : {0, 1}) {
        const Tensor a = copy_of(stream, dy), b = copy_of(stream, residual),
                     again = poisoned(stream, {shape[1]});
        kernels::rmsnorm_backward(stream, a, x, weight, rstd, b, aliased ? b : a, again, false);
        CHECK(same_bits(aliased ? b : a, with_residual));
        CHECK(same_bits(again, dweight));
      }
    }
  });
}

TEST_CASE("rmsnorm backward is the gradient of forward") {
  on_every_stream([](Stream& stream) {
    const Shape shape = {3, 17};
    const Tensor x = random_tensor(stream, shape, 10),
                 weight = random_tensor(stream, {shape[1]}, 11),
                 dy = random_tensor(stream, shape, 12);
    const Tensor rstd = poisoned(stream, {shape[0]}), dx = poisoned(stream, shape);
    const Tensor dweight = poisoned(stream, {shape[1]});
    kernels::rmsnorm_forward(stream, x, weight, kEps, poisoned(stream, shape), rstd);
    kernels::rmsnorm_backward(stream, dy, x, weight, rstd, Tensor(), dx, dweight, false);
    const std::vector<double> x0 = to_doubles(x), weight0 = to_doubles(weight),
                              dy0 = to_doubles(dy);
    CHECK(max_relative_error(dx, central_differences(
                                     [&](const std::vector<double>& v) {
                                       return dot(dy0, reference_y(v, weight0));
                                     },
                                     x0)) < kTolerance);
    CHECK(max_relative_error(dweight, central_differences(
                                          [&](const std::vector<double>& v) {
                                            return dot(dy0, reference_y(x0, v));
                                          },
                                          weight0)) < kTolerance);
  });
}

TEST_CASE("rmsnorm gives the same bits for any number of threads") {
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    const Shape shape = {211, 257};
    const Tensor x = random_tensor(stream, shape, 13), weight = random_tensor(stream, {257}, 14);
    const Tensor y = poisoned(stream, shape), rstd = poisoned(stream, {211});
    const Tensor dx = poisoned(stream, shape), dweight = poisoned(stream, {257});
    kernels::rmsnorm_forward(stream, x, weight, kEps, y, rstd);
    kernels::rmsnorm_backward(stream, y, x, weight, rstd, Tensor(), dx, dweight, false);
    return {y, rstd, dx, dweight};
  }));
}

TEST_CASE("rmsnorm accepts no rows") {
  on_every_stream([](Stream& stream) {
    const Tensor none = poisoned(stream, {0, 5}), rstd = poisoned(stream, {0});
    const Tensor weight = random_tensor(stream, {5}, 15), dweight = poisoned(stream, {5});
    kernels::rmsnorm_forward(stream, none, weight, kEps, none, rstd);
    kernels::rmsnorm_backward(stream, none, none, weight, rstd, Tensor(), none, dweight, false);
    CHECK(to_doubles(dweight) == std::vector<double>(5, 0.0));
  });
}

TEST_CASE("rmsnorm refuses other shapes and dtypes") {
  Arena arena(Device{}, 1 << 20);
  Stream stream(arena, 1, CpuIsa::kV3);
  const Tensor x = poisoned(stream, {2, 3}), weight = poisoned(stream, {3});
  const Tensor rstd = poisoned(stream, {2}), bf16 = poisoned<BFloat16>(stream, {2, 3});
  CHECK_THROWS_AS(kernels::rmsnorm_forward(stream, weight, weight, kEps, x, rstd), InvariantError);
  CHECK_THROWS_AS(kernels::rmsnorm_forward(stream, x, rstd, kEps, x, rstd), InvariantError);
  CHECK_THROWS_AS(kernels::rmsnorm_forward(stream, bf16, weight, kEps, x, rstd), InvariantError);
  CHECK_THROWS_AS(kernels::rmsnorm_backward(stream, x, x, weight, rstd, weight, x, weight, false),
                  InvariantError);
}
