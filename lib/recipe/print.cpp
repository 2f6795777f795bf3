#include "lib/recipe/print.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "lib/recipe/blend.h"
#include "lib/recipe/key_path.h"
#include "lib/recipe/value.h"

namespace nemo {
namespace {

std::string spell(int64_t value) {
  return fmt::format("{}", value);
}
std::string spell(double value) {
  return format_number(value);
}
std::string spell(bool value) {
  return value ? "true" : "false";
}
std::string spell(const std::string& value) {
  return value.empty() ? "null" : quote_yaml(value);
}

template <Choice E>
std::string spell(E value) {
  return std::string(to_string(value));
}

template <typename T>
std::string spell(const std::optional<T>& value) {
  return value ? spell(*value) : "null";
}

template <size_t N>
std::string spell(const std::array<double, N>& values) {
  std::vector<std::string> texts;
  for (const double value : values) texts.push_back(spell(value));
  return fmt::format("[{}]", fmt::join(texts, ", "));
}

// Paths; among them the weights of a blend, which are numbers.
std::string spell(const std::vector<std::string>& values) {
  std::vector<std::string> texts;
  for (const std::string& value : values)
    texts.push_back(is_blend_weight(value) ? value : quote_yaml(value));
  return fmt::format("[{}]", fmt::join(texts, ", "));
}

std::string spell(const PpLayout& layout) {
  if (layout.kind == PpLayout::Kind::kList)
    return fmt::format("[{}]", fmt::join(layout.layers, ", "));
  return layout.kind == PpLayout::Kind::kAuto ? "auto" : "even";
}

struct Printer : KeyPath {
  int indent;
  const ResolvedRecipe* sources = nullptr;  // comments, where wanted
  std::string out = {};

  void enter(std::string_view name) {
    KeyPath::enter(name);
    out += fmt::format("{:{}}{}:\n", "", indent, name);
    indent += 2;
  }
  void leave() {
    KeyPath::leave();
    indent -= 2;
  }
  template <typename T>
  void operator()(const Key& key, const T& member) {
    std::string line = fmt::format("{:{}}{}: {}", "", indent, key.name, spell(member));
    if (sources) {
      const std::string canonical = dotted(key);
      constexpr size_t kColumn = 44;
      line.resize(std::max(line.size(), kColumn), ' ');
      line +=
          fmt::format("  # {} | {}{}", sources->sources.find(canonical)->second.describe(canonical),
                      key.help, key.unit.empty() ? "" : fmt::format(" [{}]", key.unit));
    }
    out += line + "\n";
  }
};

}  // namespace

std::string quote_yaml(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\')
      quoted += fmt::format("\\{}", c);
    else if (byte < 0x20 || byte == 0x7f)
      quoted += fmt::format("\\x{:02x}", byte);
    else
      quoted += c;
  }
  return quoted + "\"";
}

std::string print_recipe(const Recipe& recipe, int indent) {
  Printer printer{{}, indent};
  visit(printer, recipe);
  return printer.out;
}

std::string print_with_sources(const ResolvedRecipe& resolved) {
  Printer printer{{}, 0, &resolved};
  visit(printer, resolved.recipe);
  return printer.out;
}

}  // namespace nemo
