// A recipe while it is being resolved: what has a value, what is wrong so far, and how to say it.
#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/recipe/read.h"
#include "lib/recipe/resolve.h"
#include "lib/recipe/value.h"

namespace nemo {

class Draft {
 public:
  using Keys = std::initializer_list<std::string_view>;

  Draft(const RecipeText& text, const Surroundings& surroundings)
      : text_(text), surroundings_(surroundings) {}

  // Gives every key its typed value; recipe entries first, then overrides.
  void assign(const std::vector<Entry>& from_recipe, const std::vector<Entry>& from_overrides);

  const Recipe& recipe() const { return recipe_; }
  Recipe& recipe() { return recipe_; }
  const Surroundings& surroundings() const { return surroundings_; }
  const RecipeText& text() const { return text_; }
  Sizes& sizes() { return sizes_; }
  Problems& problems() { return problems_; }
  const Source& source(std::string_view key) const { return sources_.find(key)->second; }

  bool given(std::string_view key) const { return source(key).is_given(); }
  // None of the keys has a problem of its own, so a rule over them says something new.
  bool sound(Keys keys) const;
  void mark_unsound(std::string_view key) { unsound_.insert(std::string(key)); }

  // True where `key` is absent and what it follows from is sound: then the caller fills it in.
  bool derives(std::string_view key, Keys from);

  // From now on the key's value counts as derived.
  void overrule(std::string_view key, std::string why);

  // Runs a rule over sound keys; what it returns is reported under the first key, with where each
  // of the keys was given.
  void check(Keys keys, const std::function<std::optional<std::string>()>& rule);

  ResolvedRecipe take();

 private:
  friend struct Assigner;

  const RecipeText& text_;
  const Surroundings& surroundings_;
  Recipe recipe_;
  Sizes sizes_;
  Sources sources_;
  std::set<std::string, std::less<>> unsound_;
  Problems problems_;
};

// Fills in every absent value and the sizes (derive.cpp, world.cpp), then checks the rules over
// several keys (rules.cpp).
void derive_values(Draft& draft);
void derive_world(Draft& draft);
void check_rules(Draft& draft);

}  // namespace nemo
