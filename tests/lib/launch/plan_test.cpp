#include "lib/launch/plan.h"

#include <doctest/doctest.h>

#include "lib/core/error.h"
#include "lib/recipe/shipped.h"

using namespace nemo;

namespace {

using Role = LaunchPlan::Role;

ResolvedRecipe resolve_for(const std::optional<LaunchedTask>& task,
                           const std::vector<std::string>& overrides) {
  return resolve(find_shipped("llama_tiny"), overrides, {.launcher = launcher_tasks(task)});
}

LaunchPlan plan(const std::optional<LaunchedTask>& task, const std::vector<std::string>& overrides,
                std::optional<LaunchMode> mode = {}) {
  return plan_launch(resolve_for(task, overrides), task, mode);
}

LaunchedTask torchrun(int task, int num_tasks) {
  return {.launcher = "torchrun", .task = task, .num_tasks = num_tasks};
}

LaunchedTask slurm(int task, int num_tasks, int num_nodes) {
  return {.launcher = "Slurm", .task = task, .num_tasks = num_tasks, .num_nodes = num_nodes};
}

}  // namespace

TEST_CASE("started alone: threads, or a launcher of processes") {
  const std::optional<LaunchedTask> none;
  CHECK(plan(none, {"trainer.devices=4"}) == LaunchPlan{Role::kThreads, 0, 4});
  CHECK(plan(none, {"trainer.devices=4"}, LaunchMode::kThreads) ==
        LaunchPlan{Role::kThreads, 0, 4});
  CHECK(plan(none, {"trainer.devices=4"}, LaunchMode::kProcesses) ==
        LaunchPlan{Role::kLauncher, 0, 4});
  CHECK_THROWS_WITH_AS(plan(none, {"trainer.devices=2", "trainer.num_nodes=2"}),
                       "trainer.num_nodes: 2, but this command was started alone, on one; srun or "
                       "torchrun on all of them, or 1, would do",
                       UserError);
}

TEST_CASE("a task for each rank") {
  CHECK(plan(torchrun(2, 4), {}) == LaunchPlan{Role::kRank, 2, 1});
  CHECK(plan(torchrun(0, 1), {}) == LaunchPlan{Role::kRank, 0, 1});
  CHECK(plan(slurm(3, 4, 2), {}) == LaunchPlan{Role::kRank, 3, 1});
  CHECK(plan(slurm(3, 4, 2), {"trainer.devices=2"}, LaunchMode::kProcesses) ==
        LaunchPlan{Role::kRank, 3, 1});
  // One rank is as well the one thread of its process.
  CHECK(plan(torchrun(2, 4), {}, LaunchMode::kThreads) == LaunchPlan{Role::kRank, 2, 1});
}

TEST_CASE("a Slurm task for each node starts the node's ranks") {
  CHECK(plan(slurm(0, 2, 2), {"trainer.devices=4"}) == LaunchPlan{Role::kLauncher, 0, 4});
  CHECK(plan(slurm(1, 2, 2), {"trainer.devices=4"}) == LaunchPlan{Role::kLauncher, 4, 4});
  CHECK_THROWS_WITH_AS(plan(slurm(1, 2, 2), {"trainer.devices=4"}, LaunchMode::kThreads),
                       "--launch: threads, but the 8 ranks of 2 nodes cannot be of one process; "
                       "processes would do",
                       UserError);
}

TEST_CASE("a launcher's tasks that fit neither ranks nor nodes are refused") {
  CHECK_THROWS_AS(plan(slurm(0, 4, 2), {"trainer.devices=4"}), UserError);
  CHECK_THROWS_AS(plan(torchrun(0, 2), {"trainer.devices=4"}), UserError);
}
