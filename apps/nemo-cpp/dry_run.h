// The YAML document that `pretrain --dry-run` prints.
#pragma once

#include <string>

#include "lib/recipe/resolve.h"

namespace nemo {

// recipe, world, mesh, groups (of rank 0 alone beyond 64 ranks), num_parameters,
// num_active_parameters, num_microbatches, memory_bytes of a rank of each stage, sharding, schedule
// of a pipeline, communication of a layout that runs, not_runnable.
std::string dry_run_document(const ResolvedRecipe& resolved);

}  // namespace nemo
