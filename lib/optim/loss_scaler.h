// The number that the loss is multiplied by before it is differentiated, so that gradients in fp16
// do not vanish (Micikevicius et al. 2018, "Mixed precision training"): halved when gradients
// overflow, doubled after 1000 steps in which they did not.
#pragma once

#include "lib/recipe/schema.h"

namespace nemo {

class LossScaler {
 public:
  // Under trainer.precision 16-mixed it begins at precision.initial_loss_scale, else it is 1 for
  // good.
  explicit LossScaler(const Recipe& recipe)
      : dynamic_(recipe.trainer.precision == PrecisionPreset::kF16Mixed),
        scale_(dynamic_ ? recipe.precision.initial_loss_scale : 1) {}

  double scale() const { return scale_; }
  // Whether a smaller scale is left to try.
  bool can_halve() const { return dynamic_ && scale_ > 1; }
  // After a step: its gradients overflowed, or did not.
  void update(bool overflowed);

 private:
  bool dynamic_;
  double scale_;
  int64_t num_clean_ = 0;  // steps since the scale last changed
};

}  // namespace nemo
