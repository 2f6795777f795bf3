// The subcommands, one file each: what each is told, and what it does. Each returns the exit code.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/launch/environment.h"
#include "lib/recipe/resolve.h"

namespace nemo {

// What main read of the process's surroundings; nothing else reads them.
struct Environment {
  char** argv = nullptr;
  Variables variables;
  std::string current_folder;  // absolute
  std::string recipe_folders;  // $NEMO_CPP_RECIPES, separated by colons
  int64_t num_gpus = 0;
  int64_t num_cores = 1;
};

struct PretrainOptions {
  std::optional<std::string> recipe;
  std::vector<std::string> overrides;  // the words after the options, `dotted.key=value`
  bool dry_run = false;
  std::optional<int64_t> world;
  std::optional<std::string> launch;
};
int pretrain(const PretrainOptions& options, const Environment& environment);

struct ShowOptions {
  std::string name;
  std::vector<std::string> overrides;
};
int list_recipes(const Environment& environment);
int show_recipe(const ShowOptions& options, const Environment& environment);

struct DataOptions {
  std::vector<std::string> paths;
  std::string kind;
  std::optional<int64_t> vocab_size;
};
int data_inspect(const DataOptions& options);
int data_verify(const DataOptions& options);

// Whether the program was started so.
bool stdout_is_closed();

// Writes to standard output. A usage error where it cannot be written whole.
void print_document(const std::string& text);

// To standard error; each line of a message is a mistake of its own. Where not even this can be
// written, the exit code has to do.
void print_errors(const std::string& message);

Surroundings surroundings_of(const Environment& environment);

}  // namespace nemo
