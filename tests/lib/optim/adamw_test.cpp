#include "lib/optim/adamw.h"

#include <doctest/doctest.h>

#include <cmath>

#include "lib/optim/clip.h"

using namespace nemo;

TEST_CASE("three steps of two ranges equal AdamW written out in double") {
  Arena arena(Device{}, int64_t{1} << 24);
  Stream stream(arena, 1, detect_cpu_isa());
  float params[2][3] = {{1.0f, -2.0f, 0.5f}, {0.25f, 4.0f, -1.0f}};
  float grads[2][3] = {{0.5f, -0.25f, 2.0f}, {1.0f, 0.0f, -3.0f}};
  OptimConfig config;
  config.betas = {0.8, 0.9};
  config.eps = 1e-3;
  config.weight_decay = 0.1;
  std::vector<OptimRange> ranges;
  for (int r = 0; r < 2; ++r)
    ranges.push_back(
        {Tensor(params[r], DType::kF32, {3}), Tensor(grads[r], DType::kF32, {3}), r == 0});
  AdamW optimizer(stream, config, ranges);

  double expected[2][3];
  for (int r = 0; r < 2; ++r)
    for (int i = 0; i < 3; ++i) {
      double p = params[r][i], m = 0, v = 0;
      for (int t = 1; t <= 3; ++t) {
        const double g = 0.5 * grads[r][i];
        m = 0.8 * m + 0.2 * g;
        v = 0.9 * v + 0.1 * g * g;
        const double lr = 0.1 * t;
        if (r == 0) p *= 1 - lr * 0.1;
        p -= lr * (m / (1 - std::pow(0.8, t))) / (std::sqrt(v / (1 - std::pow(0.9, t))) + 1e-3);
      }
      expected[r][i] = p;
    }
  for (int t = 1; t <= 3; ++t) optimizer.step(0.1 * t, 0.5);
  for (int r = 0; r < 2; ++r)
    for (int i = 0; i < 3; ++i)
      CHECK(params[r][i] == doctest::Approx(expected[r][i]).epsilon(1e-5));
}

TEST_CASE("the sum of squares runs over all tensors") {
  Arena arena(Device{}, int64_t{1} << 24);
  Stream stream(arena, 1, detect_cpu_isa());
  float a[2] = {3, 4}, b[1] = {12};
  const std::vector<Tensor> tensors = {Tensor(a, DType::kF32, {2}), Tensor(b, DType::kF32, {1})};
  CHECK(sum_of_squares(stream, tensors) == 169);
}

TEST_CASE("clipping") {
  CHECK(clip_factor(0.5, 1.0) == 1.0);
  CHECK(clip_factor(4.0, 1.0) == doctest::Approx(1.0 / (4.0 + 1e-6)).epsilon(1e-15));
  CHECK(clip_factor(4.0, 0.0) == 1.0);
}
