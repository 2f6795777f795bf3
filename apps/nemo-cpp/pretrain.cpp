// nemo-cpp pretrain: resolve the recipe, then judge it (--dry-run) or train it.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <system_error>

#include "apps/nemo-cpp/commands.h"
#include "apps/nemo-cpp/dry_run.h"
#include "apps/nemo-cpp/openmp_waiting.h"
#include "apps/nemo-cpp/stop_signal.h"
#include "lib/core/error.h"
#include "lib/core/math.h"
#include "lib/launch/host_limits.h"
#include "lib/launch/launcher.h"
#include "lib/launch/plan.h"
#include "lib/launch/pretrain.h"
#include "lib/recipe/runnable.h"
#include "lib/recipe/shipped.h"

namespace nemo {
namespace {

// Read before main runs, so that since_start_s counts from the start of the process.
const Clock::time_point process_start = Clock::now();

std::string host_name() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

std::optional<LaunchMode> launch_mode(const PretrainOptions& options) {
  if (!options.launch) return std::nullopt;
  return *options.launch == "threads" ? LaunchMode::kThreads : LaunchMode::kProcesses;
}

int launch_ranks(const ResolvedRecipe& run, const LaunchPlan& plan,
                 const std::optional<LaunchedTask>& task, const Environment& environment) {
  const std::string program = std::filesystem::read_symlink("/proc/self/exe").string();
  std::vector<std::string> words;
  for (char** word = environment.argv; *word; ++word) words.emplace_back(*word);
  return run_launcher({.plan = plan,
                       .world_size = narrow<int>(run.sizes.world),
                       .task = task,
                       .rank_command = {program, words, environment.variables},
                       .host = host_name(),
                       .timeout = comm_timeout(run.recipe),
                       .stop_signal = catch_stop_signals(/*has_parent=*/false)});
}

[[noreturn]] void end_now(const Failure& failure) {
  print_errors(failure.reason);
  _exit(static_cast<int>(failure.exit_code));
}

int train(const ResolvedRecipe& run, const std::optional<LaunchedTask>& task,
          std::optional<LaunchMode> mode, const Environment& environment) {
  const LaunchPlan plan = plan_launch(run, task, mode);
  const bool launches = plan.role == LaunchPlan::Role::kLauncher;
  check_process_limits(launches ? plan.num_ranks : 0);
  if (launches) return launch_ranks(run, plan, task, environment);
  if (run.recipe.trainer.threads_per_rank > 1) limit_openmp_spinning(environment.argv);
  const auto log = make_stderr_logger(/*debug=*/false);
  const PretrainEnvironment around = {
      .version = NEMO_VERSION,
      .host = host_name(),
      .stop_signal = catch_stop_signals(/*has_parent=*/task && task->parent != 0),
      .process_start = process_start,
      .log = *log};
  return plan.role == LaunchPlan::Role::kRank ? run_process_pretrain(run, around, *task, end_now)
                                              : run_thread_pretrain(run, around);
}

// The first word that sets nothing: where a recipe is missing it is one.
std::optional<std::string> recipe_among(const std::vector<std::string>& overrides) {
  const auto word = std::ranges::find_if(
      overrides, [](const std::string& text) { return text.find('=') == std::string::npos; });
  return word == overrides.end() ? std::nullopt : std::optional(*word);
}

}  // namespace

int pretrain(const PretrainOptions& options, const Environment& environment) {
  if (options.world && !options.dry_run)
    throw_usage(
        "--world: {} stands in for the machine, so it needs --dry-run; in a run trainer.devices "
        "and "
        "trainer.num_nodes give the world size",
        *options.world);
  if (!options.recipe)
    throw_usage("--recipe: missing; --recipe {} would do, `nemo-cpp recipes` lists those shipped",
                recipe_among(options.overrides).value_or("PATH_OR_NAME"));
  const RecipeText text =
      find_recipe(*options.recipe, environment.current_folder, environment.recipe_folders);
  Surroundings surroundings = surroundings_of(environment);
  surroundings.dry_run_world = options.world;
  const std::optional<LaunchedTask> task = find_launcher(environment.variables);
  surroundings.launcher = launcher_tasks(task);
  const ResolvedRecipe resolved = resolve(text, options.overrides, surroundings);
  if (options.dry_run) {
    print_document(dry_run_document(resolved));
    return 0;
  }
  const std::vector<std::string> refused = not_runnable(resolved);
  if (!refused.empty()) throw_usage("{}", fmt::join(refused, "\n"));
  return train(resolved, task, launch_mode(options), environment);
}

void print_document(const std::string& text) {
  if (stdout_is_closed())
    throw_usage("standard output is closed; open it, or leave the command out");
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw_usage("standard output cannot be written: {}; is the disk full?",
                std::generic_category().message(errno));
}

Surroundings surroundings_of(const Environment& environment) {
  return {.current_folder = environment.current_folder,
          .num_gpus = environment.num_gpus,
          .num_cores = environment.num_cores};
}

}  // namespace nemo
