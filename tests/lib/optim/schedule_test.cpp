#include "lib/optim/schedule.h"

#include <doctest/doctest.h>

#include <cmath>
#include <numbers>

#include "lib/core/error.h"

using namespace nemo;

namespace {

OptimConfig curve(LrSchedule schedule, int64_t warmup, int64_t constant, int64_t steps) {
  OptimConfig optim;
  optim.schedule = schedule;
  optim.lr = 1.0;
  optim.min_lr = 0.125;
  optim.warmup_steps = warmup;
  optim.constant_steps = constant;
  optim.schedule_steps = steps;
  return optim;
}

doctest::Approx near(double value) {
  return doctest::Approx(value).epsilon(1e-15);
}

}  // namespace

TEST_CASE("cosine without constant steps: warm-up to W, half a cosine to M") {
  const OptimConfig o = curve(LrSchedule::kCosine, 4, 0, 20);
  CHECK(learning_rate(o, 0) == near(1.0 / 5));
  CHECK(learning_rate(o, 3) == near(4.0 / 5));
  CHECK(learning_rate(o, 4) == 1.0);
  CHECK(learning_rate(o, 5) == near(0.125 + 0.4375 * (1 + std::cos(std::numbers::pi / 16))));
  CHECK(learning_rate(o, 8) == near(0.125 + 0.4375 * (1 + std::numbers::sqrt2 / 2)));
  CHECK(learning_rate(o, 12) == near(0.125 + 0.4375));
  CHECK(learning_rate(o, 19) > 0.125);
  CHECK(learning_rate(o, 20) == 0.125);
  CHECK(learning_rate(o, 1000) == 0.125);
}

TEST_CASE("cosine without warm-up starts at lr") {
  const OptimConfig o = curve(LrSchedule::kCosine, 0, 0, 16);
  CHECK(learning_rate(o, 0) == 1.0);
  CHECK(learning_rate(o, 8) == near(0.5625));
  CHECK(learning_rate(o, 16) == 0.125);
}

TEST_CASE("cosine with constant steps: warm-up from 0, min_lr from M - C on") {
  const OptimConfig o = curve(LrSchedule::kCosine, 4, 6, 20);
  CHECK(learning_rate(o, 0) == 0.0);
  CHECK(learning_rate(o, 1) == near(1.0 / 4));
  CHECK(learning_rate(o, 4) == 1.0);
  CHECK(learning_rate(o, 9) == near(0.5625));
  CHECK(learning_rate(o, 13) > 0.125);
  CHECK(learning_rate(o, 14) == 0.125);
  CHECK(learning_rate(o, 20) == 0.125);
  CHECK(learning_rate(o, 21) == 0.125);
}

TEST_CASE("the recipe of an 8B model: the values NeMo's scheduler gives") {
  OptimConfig o = curve(LrSchedule::kCosine, 2000, 0, 1168251);
  o.lr = 3e-4;
  o.min_lr = 3e-5;
  CHECK(learning_rate(o, 0) == near(3e-4 / 2001));
  CHECK(learning_rate(o, 999) == near(3e-4 * 1000 / 2001));
  CHECK(learning_rate(o, 2000) == near(3e-4));
  CHECK(learning_rate(o, 1168251) == near(3e-5));
}

TEST_CASE("linear is a line where cosine bends") {
  const OptimConfig o = curve(LrSchedule::kLinear, 4, 0, 20);
  CHECK(learning_rate(o, 0) == near(1.0 / 5));
  CHECK(learning_rate(o, 4) == 1.0);
  CHECK(learning_rate(o, 8) == near(0.125 + 0.875 * 0.75));
  CHECK(learning_rate(o, 12) == near(0.5625));
  CHECK(learning_rate(o, 20) == 0.125);
  CHECK(learning_rate(o, 21) == 0.125);
  const OptimConfig held = curve(LrSchedule::kLinear, 4, 6, 20);
  CHECK(learning_rate(held, 1) == near(1.0 / 4));
  CHECK(learning_rate(held, 9) == near(0.5625));
  CHECK(learning_rate(held, 14) == 0.125);
  CHECK(learning_rate(held, 20) == 0.125);
}

TEST_CASE("constant stays at lr to M") {
  const OptimConfig o = curve(LrSchedule::kConstant, 4, 0, 20);
  CHECK(learning_rate(o, 1) == near(2.0 / 5));
  CHECK(learning_rate(o, 4) == 1.0);
  CHECK(learning_rate(o, 20) == 1.0);
  CHECK(learning_rate(o, 21) == 0.125);
  CHECK(learning_rate(curve(LrSchedule::kConstant, 0, 0, 20), 0) == 1.0);
}

TEST_CASE("inverse_sqrt halves when the step quadruples, and stops at min_lr") {
  const OptimConfig o = curve(LrSchedule::kInverseSqrt, 3, 0, 500);
  CHECK(learning_rate(o, 0) == near(1.0 / 4));
  CHECK(learning_rate(o, 3) == 1.0);
  CHECK(learning_rate(o, 4) == near(std::sqrt(4.0 / 5)));
  CHECK(learning_rate(o, 15) == near(0.5));
  CHECK(learning_rate(o, 63) == near(0.25));
  CHECK(learning_rate(o, 255) == near(0.125));
  CHECK(learning_rate(o, 500) == 0.125);
  CHECK(learning_rate(o, 501) == 0.125);
  CHECK(learning_rate(curve(LrSchedule::kInverseSqrt, 0, 0, 50), 0) == 1.0);
  CHECK(learning_rate(curve(LrSchedule::kInverseSqrt, 0, 0, 50), 3) == near(0.5));
}

TEST_CASE("wsd warms up, holds lr for C steps, then falls in a line to M") {
  const OptimConfig o = curve(LrSchedule::kWsd, 4, 8, 20);
  CHECK(learning_rate(o, 0) == near(1.0 / 5));
  CHECK(learning_rate(o, 4) == 1.0);
  CHECK(learning_rate(o, 11) == 1.0);
  CHECK(learning_rate(o, 12) == 1.0);
  CHECK(learning_rate(o, 13) == near(0.125 + 0.875 * 7 / 8));
  CHECK(learning_rate(o, 16) == near(0.5625));
  CHECK(learning_rate(o, 20) == 0.125);
  CHECK(learning_rate(o, 21) == 0.125);
  const OptimConfig no_decay = curve(LrSchedule::kWsd, 4, 16, 20);
  CHECK(learning_rate(no_decay, 20) == 1.0);
  CHECK(learning_rate(no_decay, 21) == 0.125);
}

TEST_CASE("curves without a decay, and broken ones") {
  CHECK(learning_rate(curve(LrSchedule::kCosine, 4, 0, 4), 4) == 1.0);
  CHECK(learning_rate(curve(LrSchedule::kCosine, 4, 0, 4), 5) == 0.125);
  CHECK(learning_rate(curve(LrSchedule::kCosine, 0, 4, 4), 0) == 0.125);
  CHECK_THROWS_AS(learning_rate(curve(LrSchedule::kCosine, 4, 1, 4), 0), InvariantError);
  CHECK_THROWS_AS(learning_rate(curve(LrSchedule::kCosine, 0, 0, 4), -1), InvariantError);
}
