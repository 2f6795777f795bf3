#include "kernels/normal.h"

#include "kernels/functors/normal.h"
#include "lib/core/error.h"
#include "tests/support/determinism.h"
#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr uint64_t kSeed = 0x123456789abcdef1u;
const uint64_t kName = hash_name("layers.3.attention.qkv.weight");

kernels::NormalSlice whole(int64_t row_length) {
  return {kSeed, kName, 1.0f, row_length, 0, 0};
}

Tensor draw(Stream& stream, const Shape& shape) {
  const Tensor out = poisoned(stream, shape);
  kernels::fill_normal(stream, whole(shape[1]), out);
  return out;
}

// The contract in double.
double reference(uint64_t index) {
  const PhiloxBlock u = philox(kSeed, index / 4, kName);
  const size_t pair = index % 4 / 2 * 2;
  const double radius = std::sqrt(-2 * std::log((u[pair] / 2 + 0.5) * 0x1p-31));
  const double angle = 2 * 3.14159265358979323846 * 0x1p-32 * u[pair + 1];
  return radius * (index % 2 ? std::sin(angle) : std::cos(angle));
}

double normal_cdf(double x) {
  return std::erfc(-x / std::sqrt(2.0)) / 2;
}

}  // namespace

TEST_CASE("fill_normal is Box-Muller over Philox") {
  on_every_stream([](Stream& stream) {
    const Tensor out = draw(stream, {37, 1000});
    std::vector<double> expected;
    for (int64_t i = 0; i < out.numel(); ++i) expected.push_back(reference(i));
    CHECK(max_relative_error(out, expected) < 2e-7);
  });
}

// This file is compiled for the oldest processor, without vectors or fused instructions: equal bits
// mean that neither changes a number.
TEST_CASE("fill_normal gives the bits of its functor compiled for another instruction set") {
  on_every_stream([](Stream& stream) {
    const std::vector<float> values = elements(draw(stream, {37, 1000}));
    bool same = true;
    for (size_t i = 0; i < values.size(); i += 4) {
      const PhiloxBlock u = philox(kSeed, i / 4, kName);
      const auto first = kernels::functors::box_muller(u[0], u[1]);
      const auto second = kernels::functors::box_muller(u[2], u[3]);
      const float expected[] = {first.cosine, first.sine, second.cosine, second.sine};
      same &= std::memcmp(&values[i], expected, sizeof(expected)) == 0;
    }
    CHECK(same);
  });
}

TEST_CASE("box_muller holds at the ends of its range") {
  using kernels::functors::box_muller;
  CHECK(box_muller(0, 0).cosine == doctest::Approx(std::sqrt(64 * std::log(2.0))));
  CHECK(box_muller(0xffffffffu, 0).cosine == 0.0f);
  for (uint32_t quarter = 0; quarter < 4; ++quarter) {
    const auto pair = box_muller(0x40000000u, quarter << 30);
    const float radius = box_muller(0x40000000u, 0).cosine;
    CHECK(pair.cosine == (quarter % 2 ? 0.0f : quarter == 0 ? radius : -radius));
    CHECK(pair.sine == (quarter % 2 == 0 ? 0.0f : quarter == 1 ? radius : -radius));
  }
}

TEST_CASE("a slice holds the numbers of the whole, whatever its place and stride") {
  on_every_stream([](Stream& stream) {
    const int64_t rows = 70, cols = 301;
    const Tensor all = draw(stream, {rows, cols});
    const int64_t slices[][4] = {
        {0, 70, 0, 150}, {0, 70, 150, 301}, {13, 14, 7, 8}, {60, 70, 0, 301}, {1, 69, 63, 130}};
    for (const auto& [r0, r1, c0, c1] : slices) {
      const Tensor wide = poisoned(stream, {r1 - r0, c1 - c0 + 5});
      const Tensor out = wide.slice(1, 2, 2 + c1 - c0);
      kernels::fill_normal(stream, {kSeed, kName, 1.0f, cols, r0, c0}, out);
      CHECK(same_bits(out, all.slice(0, r0, r1).slice(1, c0, c1)));
      CHECK(is_still_poisoned(wide.slice(1, 0, 2)));
      CHECK(is_still_poisoned(wide.slice(1, 2 + c1 - c0, 5 + c1 - c0)));
    }
  });
}

TEST_CASE("an index beyond 32 bits draws from its own counter") {
  on_every_stream([](Stream& stream) {
    const int64_t row_length = int64_t{1} << 34;
    const Tensor out = poisoned(stream, {3, 5});
    kernels::fill_normal(stream, {kSeed, kName, 1.0f, row_length, 2, 6}, out);
    std::vector<double> expected;
    for (int64_t r = 0; r < 3; ++r)
      for (int64_t c = 0; c < 5; ++c) expected.push_back(reference((2 + r) * row_length + 6 + c));
    CHECK(max_relative_error(out, expected) < 2e-7);
  });
}

TEST_CASE("std scales, and another seed or name draws other numbers") {
  Arena arena(Device{}, 1 << 24);
  Stream stream(arena, 1, detect_cpu_isa());
  const std::vector<float> base = elements(draw(stream, {1, 1000}));
  const Tensor out = poisoned(stream, {1, 1000});
  const auto mean_product = [&](kernels::NormalSlice slice) {
    kernels::fill_normal(stream, slice, out);
    double sum = 0;
    for (size_t i = 0; i < base.size(); ++i) sum += static_cast<double>(base[i] * elements(out)[i]);
    return sum / 1000;
  };
  std::vector<float> scaled = base;
  for (float& value : scaled) value *= 0.02f;
  CHECK(mean_product({kSeed, kName, 0.02f, 1000, 0, 0}) == doctest::Approx(0.02).epsilon(0.1));
  CHECK(elements(out) == scaled);
  for (int bit : {0, 31, 32, 63}) {
    CHECK(std::abs(mean_product({kSeed ^ (1ull << bit), kName, 1, 1000, 0, 0})) < 0.1);
    CHECK(std::abs(mean_product({kSeed, kName ^ (1ull << bit), 1, 1000, 0, 0})) < 0.1);
  }
}

TEST_CASE("the numbers are normal: moments, Kolmogorov-Smirnov, tails, no correlation") {
  Arena arena(Device{}, 1 << 26);
  Stream stream(arena, 2, detect_cpu_isa());
  const int64_t n = 1000000;
  const double sigma = 1 / std::sqrt(static_cast<double>(n));  // of a mean of unit variance
  std::vector<double> x = to_doubles(draw(stream, {1, n}));
  double moments[5] = {};
  double lagged[5] = {};
  int64_t beyond_four = 0;
  for (int64_t i = 0; i < n; ++i) {
    for (int k = 1; k <= 4; ++k) moments[k] += std::pow(x[i], k) * sigma * sigma;
    for (int lag = 1; lag <= 4; ++lag) lagged[lag] += x[i] * x[(i + lag) % n] * sigma * sigma;
    beyond_four += std::abs(x[i]) > 4;
  }
  CHECK(std::abs(moments[1]) < 3 * sigma);
  CHECK(std::abs(moments[2] - 1) < 3 * std::sqrt(2.0) * sigma);
  CHECK(std::abs(moments[3]) < 3 * std::sqrt(15.0) * sigma);
  CHECK(std::abs(moments[4] - 3) < 3 * std::sqrt(96.0) * sigma);
  for (int lag = 1; lag <= 4; ++lag) CHECK(std::abs(lagged[lag]) < 3 * sigma);
  const double expected_tail = 2 * normal_cdf(-4) * static_cast<double>(n);
  CHECK(std::abs(static_cast<double>(beyond_four) - expected_tail) < 3 * std::sqrt(expected_tail));

  std::ranges::sort(x);
  double distance = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double cdf = normal_cdf(x[i]), step = static_cast<double>(i) / static_cast<double>(n);
    distance = std::max({distance, cdf - step, step + sigma * sigma - cdf});
  }
  CHECK(distance < 1.36 * sigma);  // the 5% quantile
}

TEST_CASE("fill_normal gives the same bits for any number of threads") {
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    return {draw(stream, {211, 257}), draw(stream, {1, 70001})};
  }));
}

TEST_CASE("fill_normal refuses columns outside the matrix and other dtypes") {
  Arena arena(Device{}, 1 << 20);
  Stream stream(arena, 1, CpuIsa::kV3);
  CHECK_THROWS_AS(kernels::fill_normal(stream, {1, 1, 1, 5, 0, 2}, poisoned(stream, {2, 4})),
                  InvariantError);
  CHECK_THROWS_AS(kernels::fill_normal(stream, whole(4), poisoned(stream, {4})), InvariantError);
  CHECK_THROWS_AS(kernels::fill_normal(stream, whole(4), poisoned<BFloat16>(stream, {2, 4})),
                  InvariantError);
}
