// The global gradient norm, and clipping by it.
#pragma once

#include <vector>

#include "lib/device/stream.h"

namespace nemo {

// Sum of the squares of all elements, in double, in the order of the tensors.
double sum_of_squares(Stream& stream, const std::vector<Tensor>& tensors);

// What gradients of this global L2 norm are multiplied by: max_norm / (norm + 1e-6) where that is
// below 1. max_norm 0 turns clipping off.
double clip_factor(double norm, double max_norm);

}  // namespace nemo
