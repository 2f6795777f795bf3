// Which dataset of a blend gives each sample, as Megatron-Core's BlendedDataset has it: sample t
// comes from the dataset that lags most behind its share, the largest w_i * max(t, 1) - count_i,
// the first of equals; each dataset's samples are taken in its own order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace nemo {

// The weights divided by their sum, which is added up as numpy does: pairwise, so that the last
// bits of a long blend's weights, and with them its order, are Megatron's.
std::vector<double> normalize_weights(std::span<const double> weights);

class BlendOrder {
 public:
  // A part of its dataset's samples comes next.
  struct Place {
    size_t dataset;
    int64_t sample;
  };

  BlendOrder() = default;

  // weights: normalized; a dataset of weight 0 gives nothing. The order has `most` samples, or ends
  // before the first one that its dataset, which has available[i], does not have.
  BlendOrder(std::span<const double> weights, std::span<const int64_t> available, int64_t most);

  int64_t size() const { return static_cast<int64_t>(datasets_.size()); }
  Place operator()(int64_t position) const {
    return {datasets_[static_cast<size_t>(position)], samples_[static_cast<size_t>(position)]};
  }

 private:
  std::vector<uint16_t> datasets_;
  std::vector<int64_t> samples_;
};

}  // namespace nemo
