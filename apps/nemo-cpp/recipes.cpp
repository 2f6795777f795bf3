// nemo-cpp recipes: the shipped recipes, and one of them resolved with the source of each value.
#include <fmt/format.h>

#include "apps/nemo-cpp/commands.h"
#include "lib/core/error.h"
#include "lib/model/param_count.h"
#include "lib/recipe/print.h"
#include "lib/recipe/shipped.h"

namespace nemo {
namespace {

// "8.0 B", "804 k"
std::string short_count(int64_t count) {
  const double n = static_cast<double>(count);
  if (n >= 1e9) return fmt::format("{:.1f} B", n / 1e9);
  if (n >= 1e6) return fmt::format("{:.1f} M", n / 1e6);
  return fmt::format("{:.0f} k", n / 1e3);
}

// "tp2 dp4, sequence parallel, FULL_SHARD"
std::string layout_of(const Sizes& s, const ParallelConfig& parallel) {
  std::string layout;
  const auto add = [&layout](std::string_view axis, int64_t size) {
    if (size > 1) layout += fmt::format("{}{}{}", layout.empty() ? "" : " ", axis, size);
  };
  add("tp", s.tp);
  add("cp", s.cp);
  add("pp", s.pp);
  add("vpp", s.vpp);
  add("ep", s.ep);
  add("dp", s.dp);
  if (layout.empty()) layout = "one rank";
  if (parallel.sequence_parallel) layout += ", sequence parallel";
  if (parallel.sharding_strategy != ShardingStrategy::kNoShard)
    layout += fmt::format(", {}", to_string(parallel.sharding_strategy));
  if (parallel.distributed_optimizer) layout += ", sharded optimizer";
  return layout;
}

}  // namespace

int list_recipes(const Environment& environment) {
  std::string table = fmt::format("{:<24} {:>10} {:>10} {:>7} {:>6}  {}\n", "recipe", "parameters",
                                  "active", "context", "ranks", "layout");
  for (const ShippedRecipe& recipe : shipped_recipes()) {
    const ResolvedRecipe r = resolve(find_shipped(recipe.name), {}, surroundings_of(environment));
    const ModelConfig& model = r.recipe.model;
    table +=
        fmt::format("{:<24} {:>10} {:>10} {:>7} {:>6}  {}\n", recipe.name,
                    short_count(num_parameters(model)), short_count(num_active_parameters(model)),
                    r.recipe.data.seq_length, r.sizes.world, layout_of(r.sizes, r.recipe.parallel));
  }
  print_document(table);
  return 0;
}

int show_recipe(const ShowOptions& options, const Environment& environment) {
  if (options.name.empty())
    throw_usage("recipes show: NAME is missing; `nemo-cpp recipes` lists those shipped");
  const RecipeText text =
      find_recipe(options.name, environment.current_folder, environment.recipe_folders);
  const ResolvedRecipe resolved = resolve(text, options.overrides, surroundings_of(environment));
  print_document(fmt::format("# {}, resolved: value, where it came from, what it is [unit]\n{}",
                             text.file, print_with_sources(resolved)));
  return 0;
}

}  // namespace nemo
