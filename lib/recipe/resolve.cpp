#include "lib/recipe/resolve.h"

#include "lib/recipe/aliases.h"
#include "lib/recipe/draft.h"

namespace nemo {

ResolvedRecipe resolve(const RecipeText& text, std::span<const std::string> overrides,
                       const Surroundings& surroundings) {
  Draft draft(text, surroundings);
  Problems& problems = draft.problems();
  const std::vector<Entry> from_recipe =
      canonical_entries(read_recipe(text.text, text.file, problems), problems);
  std::vector<Entry> from_overrides;
  for (const std::string& word : overrides)
    for (Entry& entry : canonical_entries(read_override(word, problems), problems))
      from_overrides.push_back(std::move(entry));
  draft.assign(from_recipe, from_overrides);
  derive_values(draft);
  derive_world(draft);
  check_rules(draft);
  problems.raise();
  return draft.take();
}

}  // namespace nemo
