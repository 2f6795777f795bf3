// What this process does in a run: hold its ranks, be one, or start some.
#pragma once

#include <optional>
#include <string_view>

#include "lib/launch/environment.h"
#include "lib/recipe/resolve.h"

namespace nemo {

// --launch: how one command runs its local ranks.
enum class LaunchMode { kThreads, kProcesses };

struct LaunchPlan {
  enum class Role {
    kThreads,   // all ranks are threads of this process
    kRank,      // this process is one rank of several processes
    kLauncher,  // this process starts `num_ranks` ranks as its children, and is none
  };

  Role role = Role::kThreads;
  int first_rank = 0;
  int num_ranks = 1;  // of this process or its children; they follow first_rank
  bool operator==(const LaunchPlan&) const = default;
};

// What resolve() should know of a launcher.
std::optional<LauncherTasks> launcher_tasks(const std::optional<LaunchedTask>& task);

// `task`: this process, where a launcher started it; `mode`: what the user asked for, if anything.
// `run` was resolved with launcher_tasks(task), so that its world is in agreement with it. A usage
// error for what cannot be, such as several nodes without a launcher.
LaunchPlan plan_launch(const ResolvedRecipe& run, const std::optional<LaunchedTask>& task,
                       std::optional<LaunchMode> mode);

}  // namespace nemo
