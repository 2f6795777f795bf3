// Processes that were started apart must mean the same run.
#pragma once

#include "lib/comm/rendezvous.h"
#include "lib/comm/store/job.h"
#include "lib/recipe/schema.h"

namespace nemo {

// Collective. A usage error where this rank's resolved recipe is not rank 0's, which names the
// first key that differs.
void agree_on_recipe(Rendezvous& rendezvous, const Member& self, const Recipe& recipe);

}  // namespace nemo
