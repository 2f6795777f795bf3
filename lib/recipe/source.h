// Where a value came from, and the collected problems of a recipe.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace nemo {

enum class Origin : uint8_t { kDefault, kDerived, kRecipe, kOverride };

struct Source {
  Origin origin = Origin::kDefault;
  std::string file = {};      // kRecipe: as the user would find it
  int line = 0;               // kRecipe: from 1
  std::string spelling = {};  // kRecipe, kOverride: the key as it was typed
  std::string text = {};      // kOverride: the whole word; kDerived: what the value follows from

  // In the recipe or an override, with a value rather than auto.
  bool is_given() const { return origin == Origin::kRecipe || origin == Origin::kOverride; }

  // "llama.yaml:12", "trainer.tp at llama.yaml:12", "override trainer.tp=2", "default", "from …".
  std::string describe(std::string_view canonical) const;
};

using Sources = std::map<std::string, Source, std::less<>>;  // of every canonical key

// Where those of the keys stand that were given: " (llama.yaml:3)", of several keys "
// (trainer.seed: llama.yaml:3; data.kind: override data.kind=text)"; "" where none was.
std::string places(const Sources& sources, std::initializer_list<std::string_view> keys);

// At most this much of what a user typed is shown; a message stays one line.
std::string shorten(std::string_view text);

// All mistakes of one recipe, in the order found, each once.
class Problems {
 public:
  void add(const std::string& line);
  void add(const Problems& others);
  bool empty() const { return lines_.empty(); }
  // Throws one UserError (exit 2) with a line for each problem; returns when there is none.
  void raise() const;

 private:
  std::vector<std::string> lines_;
};

}  // namespace nemo
