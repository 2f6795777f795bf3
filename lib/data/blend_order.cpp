#include "lib/data/blend_order.h"

#include <algorithm>

#include "lib/core/error.h"

namespace nemo {
namespace {

// numpy's sum of doubles that lie side by side: up to 128 in eight interleaved sums, more by
// halves.
double pairwise_sum(std::span<const double> values) {
  constexpr size_t kLanes = 8, kBlock = 128;
  if (values.size() > kBlock) {
    const size_t half = values.size() / 2 / kLanes * kLanes;
    return pairwise_sum(values.first(half)) + pairwise_sum(values.subspan(half));
  }
  double sum = 0.0;
  size_t i = 0;
  if (values.size() >= kLanes) {
    double lanes[kLanes] = {};
    for (; i + kLanes <= values.size(); i += kLanes)
      for (size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += values[i + lane];
    sum = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) +
          ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
  }
  for (; i < values.size(); ++i) sum += values[i];
  return sum;
}

}  // namespace

std::vector<double> normalize_weights(std::span<const double> weights) {
  const double sum = pairwise_sum(weights);
  std::vector<double> normalized(weights.begin(), weights.end());
  for (double& weight : normalized) weight /= sum;
  return normalized;
}

BlendOrder::BlendOrder(std::span<const double> weights, std::span<const int64_t> available,
                       int64_t most) {
  NEMO_CHECK(weights.size() == available.size() && weights.size() <= UINT16_MAX,
             "[blend_order] {} weights, {} datasets", weights.size(), available.size());
  std::vector<uint16_t> taking;  // part in it
  std::vector<double> share, count;
  for (size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] <= 0.0) continue;
    taking.push_back(static_cast<uint16_t>(i));
    share.push_back(weights[i]);
    count.push_back(0.0);
  }
  for (int64_t t = 0; t < most; ++t) {
    const auto time = static_cast<double>(std::max<int64_t>(t, 1));
    size_t chosen = 0;
    double largest = share[0] * time - count[0];
    for (size_t i = 1; i < share.size(); ++i) {
      const double lag = share[i] * time - count[i];
      if (lag > largest) {
        largest = lag;
        chosen = i;
      }
    }
    const auto sample = static_cast<int64_t>(count[chosen]++);
    if (sample >= available[taking[chosen]]) return;
    datasets_.push_back(taking[chosen]);
    samples_.push_back(sample);
  }
}

}  // namespace nemo
