#include "lib/optim/adamw.h"

#include "kernels/adamw.h"
#include "kernels/elementwise.h"

namespace nemo {

AdamW::AdamW(Stream& stream, const OptimConfig& config, std::vector<OptimRange> ranges,
             uint64_t seed)
    : stream_(stream), config_(config), ranges_(std::move(ranges)), seed_(seed) {
  for (auto* moments : {&moments1_, &moments2_})
    for (const OptimRange& range : ranges_) {
      moments->emplace_back(stream.arena(), DType::kF32, range.param.shape(),
                            MemoryCategory::kOptimizer, "adamw.moment");
      kernels::fill(stream, moments->back(), 0);
    }
}

void AdamW::step(double lr, double grad_scale) {
  ++num_steps_;
  for (size_t i = 0; i < ranges_.size(); ++i) {
    const kernels::AdamWStep step = {
        .lr = static_cast<float>(lr),
        .beta1 = static_cast<float>(config_.betas[0]),
        .beta2 = static_cast<float>(config_.betas[1]),
        .eps = static_cast<float>(config_.eps),
        .weight_decay = ranges_[i].decay ? static_cast<float>(config_.weight_decay) : 0.0f,
        .step = num_steps_,
        .grad_scale = static_cast<float>(grad_scale),
        .rounding_key = seed_ + 0x9E3779B97F4A7C15u * static_cast<uint64_t>(num_steps_),
        .rounding_stream = ranges_[i].name_hash,
        .first = ranges_[i].first};
    kernels::adamw(stream_, step, ranges_[i].param, ranges_[i].grad, moments1_[i], moments2_[i]);
  }
}

}  // namespace nemo
