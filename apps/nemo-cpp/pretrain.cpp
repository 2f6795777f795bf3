// nemo-cpp pretrain: resolve the recipe, then judge it (--dry-run) or train it.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <optional>
#include <system_error>

#include "apps/nemo-cpp/commands.h"
#include "apps/nemo-cpp/dry_run.h"
#include "apps/nemo-cpp/openmp_waiting.h"
#include "apps/nemo-cpp/stop_signal.h"
#include "lib/core/error.h"
#include "lib/launch/pretrain.h"
#include "lib/recipe/runnable.h"
#include "lib/recipe/shipped.h"

namespace nemo {
namespace {

struct PretrainOptions {
  std::string recipe;
  std::vector<std::string> overrides;
  bool dry_run = false;
  std::optional<int64_t> world;
  std::string launch = "threads";
};

// Read before main runs, so that since_start_s counts from the start of the process.
const Clock::time_point process_start = Clock::now();

std::string host_name() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

int train(const ResolvedRecipe& resolved, const Environment& environment) {
  if (resolved.recipe.trainer.threads_per_rank > 1) limit_openmp_spinning(environment.argv);
  const auto log = make_stderr_logger(/*debug=*/false);
  return run_pretrain(resolved, {.version = NEMO_VERSION,
                                 .host = host_name(),
                                 .stop_signal = catch_stop_signals(),
                                 .process_start = process_start,
                                 .log = *log});
}

int pretrain(const PretrainOptions& options, const Environment& environment) {
  if (options.world && !options.dry_run)
    throw_usage(
        "--world: {} stands in for the machine, so it needs --dry-run; in a run trainer.devices "
        "and "
        "trainer.num_nodes give the world size",
        *options.world);
  const RecipeText text =
      find_recipe(options.recipe, environment.current_folder, environment.recipe_folders);
  Surroundings surroundings = surroundings_of(environment);
  surroundings.dry_run_world = options.world;
  const ResolvedRecipe resolved = resolve(text, options.overrides, surroundings);
  if (options.dry_run) {
    print_document(dry_run_document(resolved));
    return 0;
  }
  std::vector<std::string> refused = not_runnable(resolved);
  if (options.launch != "threads")
    refused.push_back(fmt::format("--launch: {} cannot run yet; threads would do", options.launch));
  if (!refused.empty()) throw_usage("{}", fmt::join(refused, "\n"));
  return train(resolved, environment);
}

}  // namespace

CLI::Option* add_overrides(CLI::App& command, std::vector<std::string>& overrides) {
  return command
      .add_option("overrides", overrides,
                  "dotted.key=value: sets a key of the recipe, the last of a key wins")
      ->type_name("key=value");
}

void print_document(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw_usage("standard output cannot be written: {}; is the disk full?",
                std::generic_category().message(errno));
}

Surroundings surroundings_of(const Environment& environment) {
  return {.current_folder = environment.current_folder,
          .num_gpus = environment.num_gpus,
          .num_cores = environment.num_cores};
}

void add_pretrain(CLI::App& app, const Environment& environment, Command& chosen) {
  const auto options = std::make_shared<PretrainOptions>();
  CLI::App* command = app.add_subcommand("pretrain", "Validate a recipe, build the mesh, train");
  command
      ->add_option(
          "--recipe,--factory", options->recipe,
          "A recipe's path, or the name of one: in this folder, in NEMO_CPP_RECIPES, shipped")
      ->required();
  command->add_flag("--dry-run", options->dry_run,
                    "Judge the recipe without a device or a file: print it resolved, its mesh, "
                    "groups, parameters and memory");
  command
      ->add_option("--world", options->world,
                   "With --dry-run: the number of ranks, instead of devices * nodes")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 32).description("ranks"));
  command->add_option("--launch", options->launch, "How one command runs its local ranks")
      ->check(CLI::IsMember({"threads", "processes"}))
      ->capture_default_str();
  add_overrides(*command, options->overrides);
  command->footer(
      "`nemo-cpp recipes show NAME` lists every key with its value, source, unit and help.");
  command->callback([options, &environment, &chosen] {
    chosen = [=, &environment] { return pretrain(*options, environment); };
  });
}

}  // namespace nemo
