// The global gradient norm, and clipping by it.
#pragma once

#include <vector>

#include "lib/optim/adamw.h"

namespace nemo {

// Sum of the squares of every gradient of the ranges, in double, in the order of the ranges.
double sum_squares_of_grads(Stream& stream, const std::vector<OptimRange>& ranges);

// What gradients of this global L2 norm are multiplied by: max_norm / (norm + 1e-6) where that is
// below 1. max_norm 0 turns clipping off.
double clip_factor(double norm, double max_norm);

}  // namespace nemo
