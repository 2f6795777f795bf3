// What is opened and asked before a run leaves anything behind.
#pragma once

#include <memory>

#include "lib/data/dataset.h"
#include "lib/recipe/resolve.h"

namespace nemo {

struct PreparedRun {
  std::unique_ptr<const Dataset> dataset;  // shared by the ranks of this process
  int64_t predicted_peak;                  // bytes of a rank
};

// Opens the data and finds whether weights and host can serve. `num_ranks`: of this process; the
// host has trainer.devices of them. A usage or a data error for what cannot be.
PreparedRun prepare_run(const ResolvedRecipe& run, int64_t num_ranks);

}  // namespace nemo
