#include "lib/recipe/shipped.h"

#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "lib/core/error.h"
#include "lib/recipe/nearest.h"

namespace nemo {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kExtension = ".yaml";

// Other names of shipped recipes.
constexpr std::pair<std::string_view, std::string_view> kOtherNames[] = {{"llama_8b", "llama3_8b"}};

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw_usage("recipe {} cannot be read; check its permissions", path.string());
  if (!text) throw_usage("recipe {} is empty; give a file of sections and keys", path.string());
  return text.str();
}

std::optional<RecipeText> look_in(const fs::path& folder, const std::string& name) {
  for (const std::string& file : {name, name + std::string(kExtension)}) {
    const fs::path path = folder / file;
    std::error_code ignored;
    if (!fs::is_regular_file(path, ignored)) continue;
    return RecipeText{path.stem().string(), path.string(),
                      fs::absolute(path).parent_path().string(), read_file(path)};
  }
  return std::nullopt;
}

std::optional<RecipeText> look_in_shipped(std::string_view name) {
  if (name.ends_with(kExtension)) name.remove_suffix(kExtension.size());
  for (const auto& [other, canonical] : kOtherNames)
    if (name == other) name = canonical;
  for (const ShippedRecipe& recipe : shipped_recipes())
    if (recipe.name == name)
      return RecipeText{std::string(name), "recipes/" + std::string(name) + std::string(kExtension),
                        "", std::string(recipe.text)};
  return std::nullopt;
}

[[noreturn]] void throw_not_found(const std::string& name, const std::string& current_folder,
                                  const std::string& search_path) {
  std::error_code ignored;
  const fs::file_status there = fs::status(fs::path(current_folder) / name, ignored);
  if (fs::exists(there))
    throw_usage("recipe {} is {}; give a file, or the name of a shipped recipe", name,
                fs::is_directory(there) ? "a folder" : "not a regular file");
  std::vector<std::string_view> names;
  for (const ShippedRecipe& recipe : shipped_recipes()) names.push_back(recipe.name);
  const std::string stem = fs::path(name).stem().string();
  const std::string_view nearest = nearest_word(stem, names);
  throw_usage(
      "no recipe '{}' in the current folder, in NEMO_CPP_RECIPES ({}) or among the shipped "
      "recipes; {}",
      name, search_path.empty() ? "not set" : search_path,
      nearest.empty() ? "`nemo-cpp recipes` lists those"
                      : fmt::format("did you mean {}?", nearest));
}

}  // namespace

RecipeText find_shipped(std::string_view name) {
  const std::optional<RecipeText> found = look_in_shipped(name);
  NEMO_CHECK(found.has_value(), "[recipes] {} is not shipped", name);
  return *found;
}

RecipeText find_recipe(const std::string& name, const std::string& current_folder,
                       const std::string& search_path) {
  if (name.empty()) throw_usage("recipe: an empty name; a path or a shipped recipe would do");
  if (auto found = look_in(current_folder, name)) {
    found->file = fs::path(found->file).lexically_relative(current_folder).string();
    if (found->file.empty() || found->file.starts_with("..")) found->file = name;
    return *found;
  }
  std::istringstream folders(search_path);
  for (std::string folder; std::getline(folders, folder, ':');)
    if (auto found = folder.empty() ? std::nullopt : look_in(folder, name)) return *found;
  if (auto found = look_in_shipped(name)) return *found;
  throw_not_found(name, current_folder, search_path);
}

}  // namespace nemo
