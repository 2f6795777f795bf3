// Where a run's first weights come from: the seed, or a Hugging Face folder.
#pragma once

#include "lib/device/stream.h"
#include "lib/nn/param.h"
#include "lib/parallel/weight_state.h"
#include "lib/recipe/schema.h"

namespace nemo {

// Whether checkpoint.init_from, if given, can serve: asked once before the ranks start, because
// what is wrong is wrong for all. A data error for a folder that cannot, a usage error where it
// holds another model.
void check_initial_weights(const Recipe& recipe);

// Sets what this rank keeps of every weight, by checkpoint.init_from, which has been checked, or by
// trainer.seed, and publishes it.
void load_initial_weights(Stream& stream, const Recipe& recipe, const ParamSet& params,
                          WeightState& weights);

}  // namespace nemo
