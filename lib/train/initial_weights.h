// Where a run's first weights come from: the seed, or a Hugging Face folder.
#pragma once

#include "lib/device/stream.h"
#include "lib/nn/weights.h"
#include "lib/recipe/schema.h"

namespace nemo {

// Fills every fp32 weight of the set through `weights`, by checkpoint.init_from or trainer.seed.
// A data error for a folder that cannot serve; a usage error where it holds another model.
void load_initial_weights(Stream& stream, const Recipe& recipe, const ParamSet& params,
                          WeightProvider& weights);

}  // namespace nemo
