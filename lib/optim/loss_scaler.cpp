#include "lib/optim/loss_scaler.h"

#include <algorithm>

namespace nemo {

void LossScaler::update(bool overflowed) {
  constexpr int64_t kCleanSteps = 1000;
  if (!dynamic_) return;
  num_clean_ = overflowed ? 0 : num_clean_ + 1;
  if (overflowed) scale_ = std::max(1.0, scale_ / 2);
  if (num_clean_ < kCleanSteps) return;
  scale_ *= 2;
  num_clean_ = 0;
}

}  // namespace nemo
