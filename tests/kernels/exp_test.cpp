#include "kernels/functors/exp.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>

using namespace nemo::kernels;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The error of f(x) in units of the last place of the true value.
double ulps(float got, double expected) {
  int exponent = 0;
  std::frexp(expected, &exponent);
  return std::abs(static_cast<double>(got) - expected) / std::ldexp(1.0, exponent - 24);
}

// The largest error over [lowest, highest], at steps that hit no pattern of the reduction.
template <typename Function, typename Exact>
double worst_ulps(float lowest, float highest, const Function& f, const Exact& exact) {
  constexpr int kNumSamples = 300'007;
  double worst = 0;
  for (int i = 0; i <= kNumSamples; ++i) {
    const double x = lowest + (static_cast<double>(highest) - lowest) * i / kNumSamples;
    const float rounded = static_cast<float>(x);
    worst = std::max(worst, ulps(f(rounded), exact(static_cast<double>(rounded))));
  }
  return worst;
}

float exp_of(float x) {
  return functors::exp(x);
}
float exp2_of(float x) {
  return functors::exp2(x);
}

}  // namespace

TEST_CASE("exp and exp2 are within 1.1 ulp wherever the result is normal") {
  auto exact_exp = [](double x) { return std::exp(x); };
  auto exact_exp2 = [](double x) { return std::exp2(x); };
  CHECK(worst_ulps(-0x1.5d589ep6f, 0x1.62e42ep6f, exp_of, exact_exp) < 1.1);
  CHECK(worst_ulps(-1, 1, exp_of, exact_exp) < 1.1);
  CHECK(worst_ulps(-126, 0x1.fffffep6f, exp2_of, exact_exp2) < 1.1);
  CHECK(worst_ulps(-1, 1, exp2_of, exact_exp2) < 1.1);
}

TEST_CASE("exp and exp2 end in 0 and infinity, and keep NaN") {
  for (auto f : {exp_of, exp2_of}) {
    CHECK(f(0.0f) == 1.0f);
    CHECK(f(-0.0f) == 1.0f);
    for (float x : {-kInfinity, -1e30f, -1e5f, -127.0f}) CHECK(f(x) == 0.0f);
    for (float x : {kInfinity, 1e30f, 1e5f, 128.0f}) CHECK(f(x) == kInfinity);
    for (uint32_t bits : {0x7fc00000u, 0x7fc00001u, 0xffffffffu, 0x7fbfffffu})
      CHECK(std::isnan(f(__builtin_bit_cast(float, bits))));
  }
  // The first argument beyond each end, and the last within.
  CHECK(exp_of(-0x1.5d58a0p6f) == 0.0f);
  CHECK(exp_of(-0x1.5d589ep6f) > 0.0f);
  CHECK(exp_of(0x1.62e42ep6f) < kInfinity);
  CHECK(exp_of(0x1.62e430p6f) == kInfinity);
  CHECK(exp2_of(-126.00001f) == 0.0f);
  CHECK(exp2_of(-126.0f) == 0x1p-126f);
  CHECK(exp2_of(0x1.fffffep6f) < kInfinity);
}
