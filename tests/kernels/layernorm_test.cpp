#include "kernels/layernorm.h"

#include "lib/core/error.h"
#include "tests/support/determinism.h"
#include "tests/support/gradients.h"
#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr float kEps = 0.1f;  // large enough to matter
constexpr double kTolerance = 2e-6;
// Rows and columns; the last is large enough for three threads. (Of one column, dx is 0 to
// rounding.)
const Shape kSizes[] = {{1, 2}, {2, 3}, {5, 17}, {3, 1000}, {211, 257}};

struct Statistics {
  std::vector<double> mean, rstd;
};

Statistics statistics(const std::vector<double>& x, int64_t h) {
  Statistics s;
  for (size_t t = 0; t < x.size() / h; ++t) {
    double mean = 0, variance = 0;
    for (int64_t j = 0; j < h; ++j) mean += x[t * h + j] / static_cast<double>(h);
    for (int64_t j = 0; j < h; ++j)
      variance += (x[t * h + j] - mean) * (x[t * h + j] - mean) / static_cast<double>(h);
    s.mean.push_back(mean);
    s.rstd.push_back(1 / std::sqrt(variance + kEps));
  }
  return s;
}

std::vector<double> reference_y(const std::vector<double>& x, const std::vector<double>& weight,
                                const std::vector<double>& bias) {
  const int64_t h = static_cast<int64_t>(weight.size());
  const Statistics s = statistics(x, h);
  std::vector<double> y(x.size());
  for (size_t i = 0; i < x.size(); ++i)
    y[i] = (x[i] - s.mean[i / h]) * s.rstd[i / h] * weight[i % h] + bias[i % h];
  return y;
}

struct Gradients {
  std::vector<double> dx, dweight, dbias;
};

// dx is without the residual, the sums over rows without what was there.
Gradients reference(const std::vector<double>& dy, const std::vector<double>& x,
                    const std::vector<double>& weight) {
  const size_t h = weight.size();
  const Statistics s = statistics(x, static_cast<int64_t>(h));
  Gradients r{std::vector<double>(x.size()), std::vector<double>(h), std::vector<double>(h)};
  for (size_t t = 0; t < x.size() / h; ++t) {
    double mean_g = 0, mean_gn = 0;
    const auto n = [&](size_t j) { return (x[t * h + j] - s.mean[t]) * s.rstd[t]; };
    for (size_t j = 0; j < h; ++j) {
      const double d = dy[t * h + j];
      mean_g += d * weight[j] / static_cast<double>(h);
      mean_gn += d * weight[j] * n(j) / static_cast<double>(h);
      r.dweight[j] += d * n(j);
      r.dbias[j] += d;
    }
    for (size_t j = 0; j < h; ++j)
      r.dx[t * h + j] = s.rstd[t] * (dy[t * h + j] * weight[j] - mean_g - n(j) * mean_gn);
  }
  return r;
}

// A row far from zero would lose its variance in E[x^2] - E[x]^2.
Tensor make_x(Stream& stream, const Shape& shape, DType storage = DType::kF32) {
  const Tensor x = random_tensor(stream, shape, 1, 3, storage);
  int64_t i = 0;
  for_each_element<float>(x, [&](float& value) { value += i++ / shape[1] % 2 ? 50.0f : 0.0f; });
  return x;
}

struct Case {
  Tensor x, weight, dy, residual, mean, rstd;

  Case(Stream& stream, const Shape& shape, DType storage = DType::kF32)
      : x(make_x(stream, shape, storage)),
        weight(random_tensor(stream, {shape[1]}, 2)),
        dy(random_tensor(stream, shape, 3, 1, storage)),
        residual(random_tensor(stream, shape, 4, 1, storage)),
        mean(poisoned(stream, {shape[0]})),
        rstd(poisoned(stream, {shape[0]})) {
    const Tensor bias = random_tensor(stream, {shape[1]}, 5), y = poisoned(stream, shape, storage);
    kernels::layernorm_forward(stream, x, weight, bias, kEps, y, mean, rstd);
  }

  kernels::LayerNormBackward backward(const Tensor& dx, const Tensor& dweight,
                                      const Tensor& dbias) const {
    return {.dy = dy,
            .x = x,
            .weight = weight,
            .mean = mean,
            .rstd = rstd,
            .dresidual = Tensor(),
            .dx = dx,
            .dweight = dweight,
            .dbias = dbias,
            .accumulate_dweight = false,
            .accumulate_dbias = false};
  }
};

}  // namespace

TEST_CASE("layernorm forward equals the formula") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Shape& shape : kSizes) {
      const Tensor x = make_x(stream, shape, storage), y = poisoned(stream, shape, storage);
      const Tensor weight = random_tensor(stream, {shape[1]}, 2, 1, storage);
      const Tensor bias = random_tensor(stream, {shape[1]}, 3, 1, storage);
      const Tensor mean = poisoned(stream, {shape[0]}), rstd = poisoned(stream, {shape[0]});
      kernels::layernorm_forward(stream, x, weight, bias, kEps, y, mean, rstd);
      const Statistics expected = statistics(to_doubles(x), shape[1]);
      CHECK(max_relative_error(y, reference_y(to_doubles(x), to_doubles(weight),
                                              to_doubles(bias))) < 1e-5 + rounding(storage));
      CHECK(max_relative_error(mean, expected.mean) < kTolerance);
      CHECK(max_relative_error(rstd, expected.rstd) < kTolerance);
    }
  });
}

TEST_CASE("add_layernorm is an addition and a norm, and sum may alias either term") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Shape& shape : kSizes) {
      const Tensor x = make_x(stream, shape, storage),
                   delta = random_tensor(stream, shape, 2, 1, storage);
      const Tensor weight = random_tensor(stream, {shape[1]}, 3);
      const Tensor bias = random_tensor(stream, {shape[1]}, 4);
      const Tensor sum = poisoned(stream, shape, storage), y = poisoned(stream, shape, storage);
      const Tensor mean = poisoned(stream, {shape[0]}), rstd = poisoned(stream, {shape[0]});
      kernels::add_layernorm_forward(stream, x, delta, weight, bias, kEps, sum, y, mean, rstd);
      CHECK(max_relative_error(sum, sum_of(to_doubles(x), to_doubles(delta))) <
            1e-7 + rounding(storage));

      const Tensor plain_y = poisoned(stream, shape, storage);
      const Tensor plain_mean = poisoned(stream, {shape[0]});
      const Tensor plain_rstd = poisoned(stream, {shape[0]});
      kernels::layernorm_forward(stream, sum, weight, bias, kEps, plain_y, plain_mean, plain_rstd);
      CHECK(same_bits(y, plain_y));
      CHECK(same_bits(mean, plain_mean));
      CHECK(same_bits(rstd, plain_rstd));

      for (int aliased : {0, 1}) {
        const Tensor a = copy_of(stream, x), b = copy_of(stream, delta), out = aliased ? b : a;
        const Tensor again = poisoned(stream, shape, storage);
        kernels::add_layernorm_forward(stream, a, b, weight, bias, kEps, out, again, mean, rstd);
        CHECK(same_bits(out, sum));
        CHECK(same_bits(again, y));
      }
    }
  });
}

TEST_CASE("layernorm backward equals the formula, with and without residual, = and +=") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Shape& shape : kSizes) {
      const Case c(stream, shape, storage);
      const Gradients expected = reference(to_doubles(c.dy), to_doubles(c.x), to_doubles(c.weight));
      const Tensor dx = poisoned(stream, shape, storage);
      const Tensor dweight = poisoned(stream, {shape[1]}), dbias = poisoned(stream, {shape[1]});
      kernels::layernorm_backward(stream, c.backward(dx, dweight, dbias));
      CHECK(max_relative_error(dx, expected.dx) < 1e-5 + rounding(storage));
      CHECK(max_relative_error(dweight, expected.dweight) < 1e-5);
      CHECK(max_relative_error(dbias, expected.dbias) < kTolerance);

      const Tensor with_residual = poisoned(stream, shape, storage),
                   sum = copy_of(stream, c.weight);
      const Tensor assigned = poisoned(stream, {shape[1]});
      kernels::LayerNormBackward args = c.backward(with_residual, sum, assigned);
      args.dresidual = c.residual;
      args.accumulate_dweight = true;
      kernels::layernorm_backward(stream, args);
      CHECK(max_relative_error(with_residual, sum_of(expected.dx, to_doubles(c.residual))) <
            1e-5 + rounding(storage));
      CHECK(max_relative_error(sum, sum_of(expected.dweight, to_doubles(c.weight))) < 1e-5);
      CHECK(same_bits(assigned, dbias));

      args.dweight = assigned;
      args.dbias = copy_of(stream, c.weight);
      args.accumulate_dweight = false;
      args.accumulate_dbias = true;
      args.dx = args.dresidual = copy_of(stream, c.residual);
      kernels::layernorm_backward(stream, args);
      CHECK(same_bits(args.dx, with_residual));
      CHECK(same_bits(assigned, dweight));
      CHECK(max_relative_error(args.dbias, sum_of(expected.dbias, to_doubles(c.weight))) <
            kTolerance);

      args.dresidual = c.residual;
      args.dx = args.dy = copy_of(stream, c.dy);
      kernels::layernorm_backward(stream, args);
      CHECK(same_bits(args.dx, with_residual));
    }
  });
}

TEST_CASE("layernorm backward is the gradient of forward") {
  on_every_stream([](Stream& stream) {
    const Shape shape = {2, 17};
    const Case c(stream, shape);
    const Tensor dx = poisoned(stream, shape), dweight = poisoned(stream, {17});
    const Tensor dbias = poisoned(stream, {17});
    kernels::layernorm_backward(stream, c.backward(dx, dweight, dbias));
    const std::vector<double> x = to_doubles(c.x), weight = to_doubles(c.weight);
    const std::vector<double> dy = to_doubles(c.dy), bias(17, 0.0);
    const auto differences = [&](auto y, const std::vector<double>& at) {
      return central_differences([&](const std::vector<double>& v) { return dot(dy, y(v)); }, at);
    };
    CHECK(max_relative_error(
              dx, differences([&](const auto& v) { return reference_y(v, weight, bias); }, x)) <
          1e-5);
    CHECK(max_relative_error(
              dweight,
              differences([&](const auto& v) { return reference_y(x, v, bias); }, weight)) < 1e-5);
    CHECK(max_relative_error(
              dbias, differences([&](const auto& v) { return reference_y(x, weight, v); }, bias)) <
          kTolerance);
  });
}

TEST_CASE("layernorm gives the same bits for any number of threads, and accepts no rows") {
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    const Case c(stream, {211, 257});
    const Tensor dx = poisoned(stream, {211, 257}), dweight = poisoned(stream, {257});
    const Tensor dbias = poisoned(stream, {257});
    kernels::layernorm_backward(stream, c.backward(dx, dweight, dbias));
    return {c.mean, c.rstd, dx, dweight, dbias};
  }));
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    const Case c(stream, {0, 5});
    const Tensor dweight = poisoned(stream, {5}), dbias = poisoned(stream, {5});
    kernels::layernorm_backward(stream, c.backward(poisoned(stream, {0, 5}), dweight, dbias));
    CHECK(to_doubles(dweight) == std::vector<double>(5, 0.0));
    CHECK(to_doubles(dbias) == std::vector<double>(5, 0.0));
    return {dweight, dbias};
  }));
}

TEST_CASE("layernorm refuses other shapes and dtypes") {
  Arena arena(Device{}, 1 << 20);
  Stream stream(arena, 1, CpuIsa::kV3);
  const Tensor x = poisoned(stream, {2, 3}), weight = poisoned(stream, {3});
  const Tensor row = poisoned(stream, {2}), bf16 = poisoned<BFloat16>(stream, {2, 3});
  CHECK_THROWS_AS(kernels::layernorm_forward(stream, x, weight, row, kEps, x, row, row),
                  InvariantError);
  CHECK_THROWS_AS(kernels::layernorm_forward(stream, bf16, weight, weight, kEps, x, row, row),
                  InvariantError);
  const Case c(stream, {2, 3});
  CHECK_THROWS_AS(kernels::layernorm_backward(stream, c.backward(x, weight, row)), InvariantError);
}
