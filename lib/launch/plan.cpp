#include "lib/launch/plan.h"

#include "lib/core/counted.h"
#include "lib/core/error.h"
#include "lib/core/math.h"

namespace nemo {

std::optional<LauncherTasks> launcher_tasks(const std::optional<LaunchedTask>& task) {
  if (!task) return std::nullopt;
  return LauncherTasks{.num_tasks = task->num_tasks,
                       .num_nodes = task->num_nodes,
                       .cores_per_task = task->cores_per_task,
                       .may_be_nodes = task->may_be_node()};
}

LaunchPlan plan_launch(const ResolvedRecipe& run, const std::optional<LaunchedTask>& task,
                       std::optional<LaunchMode> mode) {
  using Role = LaunchPlan::Role;
  const int num_ranks = narrow<int>(run.sizes.world);
  const TrainerConfig& trainer = run.recipe.trainer;
  if (!task) {
    if (trainer.num_nodes > 1)
      throw_usage(
          "trainer.num_nodes: {}, but this command was started alone, on one; srun or torchrun on "
          "all of them, or 1, would do",
          trainer.num_nodes);
    return {mode == LaunchMode::kProcesses ? Role::kLauncher : Role::kThreads, 0, num_ranks};
  }
  if (task->num_tasks == num_ranks) return {Role::kRank, task->task, 1};
  NEMO_CHECK(task->num_tasks * trainer.devices == num_ranks, "[launch] {} for a world of {}",
             counted(task->num_tasks, "task"), num_ranks);
  if (mode == LaunchMode::kThreads)
    throw_usage(
        "--launch: threads, but the {} of {} nodes cannot be of one process; processes would do",
        counted(num_ranks, "rank"), task->num_tasks);
  const int devices = narrow<int>(trainer.devices);
  return {Role::kLauncher, task->task * devices, devices};
}

}  // namespace nemo
