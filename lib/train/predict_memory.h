// What a rank will need, found by running the real step on a device that only counts.
#pragma once

#include "lib/device/memory.h"
#include "lib/recipe/resolve.h"

namespace nemo {

// Peak bytes of one rank of the run, by category.
MemoryReport predict_memory(const ResolvedRecipe& run, int rank);

// The largest peak_total of the run's ranks: of those that differ in what they hold.
int64_t predict_peak_memory(const ResolvedRecipe& run);

}  // namespace nemo
