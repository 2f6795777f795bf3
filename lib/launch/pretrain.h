// A whole training run: data, run folder, ranks, and how it ended.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <string>

#include "lib/comm/store/job.h"
#include "lib/core/log.h"
#include "lib/launch/environment.h"
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

// trainer.comm_timeout_s, for joining and for each wait.
std::chrono::nanoseconds comm_timeout(const Recipe& recipe);

// Both run the recipe and return the exit code of README.md: 0, 5 (diverged), or 128 + signal (130
// for SIGINT). They throw UserError for what the user can mend. What the run leaves is in log.dir.

// All ranks of the recipe, as threads of this process.
int run_thread_pretrain(const ResolvedRecipe& run, const PretrainEnvironment& environment);

// One rank, in a process of its own among those of `task`. Where the job fails, every process of
// it returns or throws the same; a rank with a parent leaves it to the parent to say it and only
// returns the code. `end_now` says it and ends the process: called from another thread
// where this rank, without a parent, has not ended 1.5 s after the job's failure.
int run_process_pretrain(const ResolvedRecipe& run, const PretrainEnvironment& environment,
                         const LaunchedTask& task,
                         const std::function<void(const Failure&)>& end_now);

}  // namespace nemo
