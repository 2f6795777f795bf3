#include "lib/optim/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "lib/core/error.h"

namespace nemo {
namespace {

double ratio(int64_t numerator, int64_t denominator) {
  return static_cast<double>(numerator) / static_cast<double>(denominator);
}

double half_cosine(double progress) {
  return 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
}

double line(double progress) {
  return 1.0 - progress;
}

double warm_up(const OptimConfig& o, int64_t step) {
  const bool decays_early = o.schedule == LrSchedule::kCosine || o.schedule == LrSchedule::kLinear;
  if (decays_early && o.constant_steps > 0) return o.lr * ratio(step, o.warmup_steps);
  return o.lr * ratio(step + 1, o.warmup_steps + 1);
}

// From lr at step `begin` to min_lr at step `end`, and min_lr from there on.
double decay(const OptimConfig& o, double (*shape)(double), int64_t step, int64_t begin,
             int64_t end) {
  if (step >= end) return o.min_lr;
  return o.min_lr + (o.lr - o.min_lr) * shape(ratio(step - begin, end - begin));
}

}  // namespace

double learning_rate(const OptimConfig& o, int64_t step) {
  const int64_t warm = o.warmup_steps;
  const int64_t hold = o.constant_steps;
  const int64_t last = o.schedule_steps;
  NEMO_CHECK(step >= 0 && warm + hold <= last, "[learning_rate] step {}, {} + {} of {} steps", step,
             warm, hold, last);
  if (warm > 0 && step <= warm) return warm_up(o, step);
  if (step > last) return o.min_lr;
  switch (o.schedule) {
    case LrSchedule::kCosine:
      return decay(o, half_cosine, step, warm, last - hold);
    case LrSchedule::kLinear:
      return decay(o, line, step, warm, last - hold);
    case LrSchedule::kConstant:
      return o.lr;
    case LrSchedule::kInverseSqrt:
      return std::max(o.min_lr, o.lr / std::sqrt(ratio(step + 1, warm + 1)));
    case LrSchedule::kWsd:
      return step <= warm + hold ? o.lr : decay(o, line, step, warm + hold, last);
  }
  return o.lr;
}

}  // namespace nemo
