#include "lib/optim/clip.h"

#include <algorithm>

#include "kernels/elementwise.h"

namespace nemo {

double sum_squares_of_grads(Stream& stream, const std::vector<OptimRange>& ranges) {
  double sum = 0;
  const Tensor total(&sum, DType::kF64, {1});
  for (const OptimRange& range : ranges) kernels::sum_squares(stream, range.grad, total);
  return sum;
}

double clip_factor(double norm, double max_norm) {
  if (max_norm == 0) return 1;
  return std::min(1.0, max_norm / (norm + 1e-6));
}

}  // namespace nemo
