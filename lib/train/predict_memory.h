// What a rank will need, found by running the real step on a device that only counts.
#pragma once

#include "lib/device/memory.h"
#include "lib/recipe/schema.h"

namespace nemo {

// Peak bytes of one rank of the recipe, by category. Scratch inside kernels is not in it.
MemoryReport predict_memory(const Recipe& recipe);

}  // namespace nemo
