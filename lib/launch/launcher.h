// A process that starts ranks as its children, watches over them and is none itself.
#pragma once

#include <atomic>
#include <chrono>
#include <optional>
#include <string>

#include "lib/launch/child_process.h"
#include "lib/launch/plan.h"

namespace nemo {

struct LauncherInputs {
  LaunchPlan plan;
  int world_size;
  // This process, where it is one of several launchers.
  std::optional<LaunchedTask> task;
  // What a rank runs: this command again, and the variables of this process.
  ChildCommand rank_command;
  std::string host;
  std::chrono::nanoseconds timeout;  // for the ranks to join, and of a wait for the store
  const std::atomic<int>& stop_signal;
};

// Hosts the store, unless another launcher does, and starts the ranks; returns the job's exit code
// when all have ended. Throws a UserError of the job's reason and exit code where it failed. No
// child is left then, nor where this process is killed.
int run_launcher(const LauncherInputs& inputs);

}  // namespace nemo
