// The recipes inside the binary, and finding a recipe by name.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/recipe/resolve.h"

namespace nemo {

struct ShippedRecipe {
  std::string_view name;
  std::string_view text;
};

// In alphabetical order.
std::span<const ShippedRecipe> shipped_recipes();

// The text of a shipped recipe; `name` must be of shipped_recipes().
RecipeText find_shipped(std::string_view name);

// `name` is a path, or a name looked up in the current folder, the folders of `search_path`
// (separated by colons) and the shipped recipes, with or without .yaml. UserError where it is not
// found (naming a shipped recipe that is near), not a file, not readable or empty.
RecipeText find_recipe(const std::string& name, const std::string& current_folder,
                       const std::string& search_path);

}  // namespace nemo
