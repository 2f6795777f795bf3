#include "lib/recipe/draft.h"

#include <fmt/format.h>

#include <filesystem>
#include <unordered_map>

#include "lib/recipe/blend.h"
#include "lib/recipe/key_path.h"

namespace nemo {
namespace {

using Group = std::vector<const Entry*>;
using Groups = std::unordered_map<std::string_view, Group>;

Groups group_by_key(const std::vector<Entry>& entries) {
  Groups groups;
  for (const Entry& entry : entries) groups[entry.key].push_back(&entry);
  return groups;
}

bool is_keyword(const std::string& path) {
  return path.empty() || path == "bytes" || path == "never" || path == "auto";
}

}  // namespace

// Visits the schema and assigns each member from its entries.
struct Assigner : KeyPath {
  Draft& draft;
  const Groups& recipe;
  const Groups& overrides;

  template <typename T>
  void operator()(const Key& key, T& member) {
    const std::string name = dotted(key);
    assign(name, name, key, member);
  }

  // The halves of betas can be set apart from each other.
  void operator()(const Key& key, std::array<double, 2>& member) {
    const std::string name = dotted(key);
    assign(name, name, key, member);
    for (size_t i = 0; i < 2; ++i) assign(fmt::format("{}.{}", name, i), name, key, member[i]);
  }

  // `group` names the entries, `name` the canonical key of messages and sources.
  template <typename T>
  void assign(const std::string& group, const std::string& name, const Key& key, T& member) {
    draft.sources_.try_emplace(
        name, Source{.origin = key.absent == Absent::kDerived ? Origin::kDerived : Origin::kDefault,
                     .text = std::string(key.derived_from)});
    const Entry* chosen = nullptr;
    std::optional<T> value;  // empty: absent, auto
    if (const auto it = recipe.find(group); it != recipe.end())
      read_group(it->second, name, key, chosen, value);
    if (const auto it = overrides.find(group); it != overrides.end()) {
      chosen = it->second.back();
      value = read<T>(*chosen, name, key);
    }
    if (value) {
      member = std::move(*value);
      draft.sources_[name] = chosen->source;
    } else if (!chosen && key.absent == Absent::kRequired) {
      draft.mark_unsound(name);
      draft.problems_.add(fmt::format("{}: missing, and it has no default; {} ({})", name,
                                      would_do(key, member), draft.text_.file));
    }
  }

  // All entries of one recipe must agree, whatever their spellings.
  template <typename T>
  void read_group(const Group& group, const std::string& name, const Key& key, const Entry*& chosen,
                  std::optional<T>& value) {
    for (const Entry* entry : group) {
      const bool was_sound = draft.sound({name});
      std::optional<T> next = read<T>(*entry, name, key);
      if (chosen && was_sound && draft.sound({name}) && next != value) {
        draft.mark_unsound(name);
        draft.problems_.add(fmt::format("{}: {} ({}) and {} ({}) differ; keep one of them", name,
                                        chosen->typed_value, place(*chosen), entry->typed_value,
                                        place(*entry)));
      }
      chosen = entry;
      value = std::move(next);
    }
  }

  static std::string place(const Entry& entry) {
    return fmt::format("{} at {}:{}", shorten(entry.source.spelling), entry.source.file,
                       entry.source.line);
  }

  template <typename T>
  std::optional<T> read(const Entry& entry, const std::string& name, const Key& key) {
    if (key.absent == Absent::kDerived && (entry.value.is_null() || entry.value.is_auto()))
      return std::nullopt;
    T value{};
    if (const std::optional<std::string> problem = read_value(key, entry.value, value)) {
      draft.mark_unsound(name);
      draft.problems_.add(fmt::format("{}: {} ({})", name, *problem, entry.source.describe(name)));
      return std::nullopt;
    }
    if (key.is_path) make_absolute(entry.source, value);
    return value;
  }

  template <typename T>
  void make_absolute(const Source&, T&) const {}
  void make_absolute(const Source& source, std::string& path) const {
    if (is_keyword(path)) return;
    std::filesystem::path base = draft.surroundings_.current_folder;
    if (source.origin == Origin::kRecipe) base /= draft.text_.folder;
    path = (base / path).lexically_normal().string();
  }
  void make_absolute(const Source& source, std::vector<std::string>& paths) const {
    for (std::string& path : paths)
      if (!is_blend_weight(path)) make_absolute(source, path);
  }

  template <typename T>
  static std::string would_do(const Key& key, const T&) {
    if constexpr (Choice<T>)
      return fmt::format("{} would do", key.help);
    else
      return range_of(key);
  }
};

void Draft::assign(const std::vector<Entry>& from_recipe,
                   const std::vector<Entry>& from_overrides) {
  const Groups recipe = group_by_key(from_recipe);
  const Groups overrides = group_by_key(from_overrides);
  Assigner assigner{{}, *this, recipe, overrides};
  visit(assigner, recipe_);
}

bool Draft::sound(Keys keys) const {
  for (const std::string_view key : keys)
    if (unsound_.contains(key)) return false;
  return true;
}

bool Draft::derives(std::string_view key, Keys from) {
  if (given(key) || !sound({key})) return false;
  if (!sound(from)) mark_unsound(key);
  return sound(from);
}

void Draft::overrule(std::string_view key, std::string why) {
  sources_.find(key)->second = Source{.origin = Origin::kDerived, .text = std::move(why)};
}

void Draft::check(Keys keys, const std::function<std::optional<std::string>()>& rule) {
  if (!sound(keys)) return;
  if (const std::optional<std::string> problem = rule())
    problems_.add(fmt::format("{}: {}{}", *keys.begin(), *problem, places(sources_, keys)));
}

ResolvedRecipe Draft::take() {
  return {std::move(recipe_), sizes_, text_.name, std::move(sources_)};
}

}  // namespace nemo
