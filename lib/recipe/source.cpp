#include "lib/recipe/source.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "lib/core/error.h"

namespace nemo {

std::string shorten(std::string_view text) {
  constexpr size_t kLongest = 60;
  std::string shown(text.substr(0, kLongest));
  if (text.size() > kLongest) shown += "...";
  return shown;
}

std::string Source::describe(std::string_view canonical) const {
  switch (origin) {
    case Origin::kDefault:
      return "default";
    case Origin::kDerived:
      return "from " + text;
    case Origin::kOverride:
      return "override " + shorten(text);
    case Origin::kRecipe:
      break;
  }
  if (spelling == canonical) return fmt::format("{}:{}", file, line);
  return fmt::format("{} at {}:{}", shorten(spelling), file, line);
}

std::string places(const Sources& sources, std::initializer_list<std::string_view> keys) {
  std::string places;
  std::set<std::string_view> named;
  for (const std::string_view key : keys) {
    const Source& source = sources.find(key)->second;
    if (!source.is_given() || !named.insert(key).second) continue;
    if (!places.empty()) places += "; ";
    if (keys.size() > 1) places += fmt::format("{}: ", key);
    places += source.describe(key);
  }
  return places.empty() ? places : fmt::format(" ({})", places);
}

void Problems::add(const std::string& line) {
  std::string printable = line;
  for (char& c : printable)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  if (std::ranges::find(lines_, printable) == lines_.end()) lines_.push_back(printable);
}

void Problems::add(const Problems& others) {
  for (const std::string& line : others.lines_) add(line);
}

void Problems::raise() const {
  if (!lines_.empty())
    throw UserError(ExitCode::kUsage, fmt::format("{}", fmt::join(lines_, "\n")));
}

}  // namespace nemo
