// A whole training run: data, run folder, ranks, and how it ended.
#pragma once

#include <atomic>
#include <string>

#include "lib/core/error.h"
#include "lib/core/log.h"
#include "lib/recipe/resolve.h"
#include "lib/train/trainer.h"

namespace nemo {

struct PretrainEnvironment {
  std::string version;
  std::string host;
  // The signal that asked for a stop, 0 = none.
  const std::atomic<int>& stop_signal;
  Clock::time_point process_start;
  Logger& log;
};

// Runs the recipe on this host's ranks and returns the exit code of README.md: 0, 5 (diverged),
// or 128 + signal (130 for SIGINT). Throws UserError for what the user can mend. What the run
// leaves is in log.dir.
int run_pretrain(const ResolvedRecipe& run, const PretrainEnvironment& environment);

}  // namespace nemo
