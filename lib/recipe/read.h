// YAML text and override words to a flat list of entries: dotted key, untyped value, source.
// Refused here: what yaml-cpp lets pass silently (duplicate keys, merge keys) or what a recipe has
// no use for (anchors, tags, several documents, lists of lists). A syntax error throws at once;
// everything else is collected.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/recipe/source.h"
#include "lib/recipe/value.h"

namespace nemo {

struct Entry {
  std::string key;  // as typed, then canonical
  Value value;
  Source source;
  std::string typed_value;  // what the user wrote, where an alias changed the value
};

// `file` is how messages name the recipe.
std::vector<Entry> read_recipe(const std::string& text, const std::string& file,
                               Problems& problems);

// "dotted.key=value", the value in YAML; a map gives an entry for each of its leaves.
std::vector<Entry> read_override(const std::string& word, Problems& problems);

}  // namespace nemo
