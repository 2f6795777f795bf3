// A recipe's text and its overrides to the resolved, validated recipe.
//
// Order: read both into entries; spellings become canonical keys; an override beats the recipe,
// the last override wins; values get types and ranges; absent values are filled in; then every rule
// over several keys is checked. All mistakes are reported together: a UserError (exit 2) whose
// message holds one `<key>: <what>, <values>; <what would do> (<where>)` line each.
// Nothing here reads the environment or looks at devices: the caller says what surrounds the run.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/recipe/schema.h"
#include "lib/recipe/sizes.h"
#include "lib/recipe/source.h"

namespace nemo {

struct RecipeText {
  std::string name;    // "llama_tiny": names the run's folder
  std::string file;    // how messages name it
  std::string folder;  // relative paths in the recipe start here; "" = the current folder
  std::string text;
};

// The tasks that a launcher started together, of which this process is one.
struct LauncherTasks {
  int64_t num_tasks = 1;
  int64_t num_nodes = 0;       // 0 = the launcher does not say
  int64_t cores_per_task = 0;  // likewise
  bool may_be_nodes = false;   // a task may stand for a node, whose `devices` ranks it starts
};

struct Surroundings {
  std::string current_folder = "/";  // absolute
  int64_t num_gpus = 0;              // visible on this node
  int64_t num_cores = 1;             // usable by this node's ranks
  std::optional<LauncherTasks> launcher = {};
  std::optional<int64_t> dry_run_world = {};  // stands in for devices * num_nodes
};

struct ResolvedRecipe {
  Recipe recipe;  // every value filled in
  Sizes sizes;
  std::string name;
  Sources sources;
};

ResolvedRecipe resolve(const RecipeText& text, std::span<const std::string> overrides,
                       const Surroundings& surroundings);

}  // namespace nemo
