#include "lib/optim/clip.h"

#include <algorithm>

#include "kernels/elementwise.h"

namespace nemo {

double sum_of_squares(Stream& stream, const std::vector<Tensor>& tensors) {
  double sum = 0;
  const Tensor total(&sum, DType::kF64, {1});
  for (const Tensor& tensor : tensors) kernels::sum_squares(stream, tensor, total);
  return sum;
}

double clip_factor(double norm, double max_norm) {
  if (max_norm == 0) return 1;
  return std::min(1.0, max_norm / (norm + 1e-6));
}

}  // namespace nemo
