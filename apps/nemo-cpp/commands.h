// The subcommands, one file each. A command adds its options to the command line and, when it is
// chosen, leaves what is to run in `chosen`.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <functional>
#include <string>

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

using Command = std::function<int()>;

void add_pretrain(CLI::App& app, const Environment& environment, Command& chosen);
void add_recipes(CLI::App& app, const Environment& environment, Command& chosen);
void add_data(CLI::App& app, Command& chosen);

// The words after the options, `dotted.key=value`.
CLI::Option* add_overrides(CLI::App& command, std::vector<std::string>& overrides);

// Whether the program was started so.
bool stdout_is_closed();

// Writes to standard output. A usage error where it cannot be written whole.
void print_document(const std::string& text);

// To standard error; each line of a message is a mistake of its own. Where not even this can be
// written, the exit code has to do.
void print_errors(const std::string& message);

Surroundings surroundings_of(const Environment& environment);

}  // namespace nemo
