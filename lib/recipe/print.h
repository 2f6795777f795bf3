// A resolved recipe as YAML: every canonical key, in the schema's order. Reading it back gives the
// same resolved recipe.
#pragma once

#include <string>

#include "lib/recipe/resolve.h"

namespace nemo {

// `indent` spaces before each line.
std::string print_recipe(const Recipe& recipe, int indent = 0);

// The same with a comment behind each key: where the value came from, its unit and its help.
std::string print_with_sources(const ResolvedRecipe& resolved);

// A YAML scalar that reads back as exactly this text.
std::string quote_yaml(const std::string& text);

}  // namespace nemo
