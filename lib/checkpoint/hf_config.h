// The config.json of a Hugging Face folder, held against a recipe's model section.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lib/recipe/schema.h"

namespace nemo {

// Every way in which the model that `directory`/config.json describes differs from `model` (which
// is resolved), one line each: `model.num_layers: the recipe says 4, …/config.json says 2; …`.
// Checked is what decides the function that the weights compute; what only training or generation
// reads (init_std, dropout, auxiliary losses, the longest sequence under rope) is not. Absent keys
// mean what Transformers takes them to mean. Unreadable or without a needed key: a data error.
std::vector<std::string> hf_config_mismatches(const std::filesystem::path& directory,
                                              const ModelConfig& model);

// A usage error of all those lines, unless there are none.
void check_hf_config(const std::filesystem::path& directory, const ModelConfig& model);

}  // namespace nemo
