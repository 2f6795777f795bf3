// The dotted names of keys, for visitors of the schema that need them.
#pragma once

#include <string>
#include <string_view>

#include "lib/recipe/schema.h"

namespace nemo {

// A visitor's base: follows visit() from section to section.
class KeyPath {
 public:
  void enter(std::string_view section) {
    if (!section_.empty()) section_ += '.';
    section_ += section;
  }
  void leave() {
    const size_t dot = section_.rfind('.');
    section_.resize(dot == std::string::npos ? 0 : dot);
  }
  // "model.rope_scaling"; "" outside all sections.
  const std::string& section() const { return section_; }
  // "model.rope_scaling.factor"
  std::string dotted(const Key& key) const {
    return section_.empty() ? std::string(key.name) : section_ + '.' + std::string(key.name);
  }

 private:
  std::string section_;
};

}  // namespace nemo
