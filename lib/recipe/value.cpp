#include "lib/recipe/value.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "lib/recipe/nearest.h"
#include "lib/recipe/source.h"

namespace nemo {
namespace {

using Problem = std::optional<std::string>;

Problem not_a(const Value& value, std::string_view wanted, const std::string& would_do) {
  return fmt::format("{} is not {}; {}", value.to_string(), wanted, would_do);
}

// For the system a path ends there.
Problem check_no_nul(std::string_view name) {
  if (name.find('\0') == std::string_view::npos) return {};
  return fmt::format("'{}' holds a NUL character; a name without it would do", shorten(name));
}

template <typename T>
Problem check_range(const Key& key, T number) {
  if (static_cast<double>(number) >= key.min && static_cast<double>(number) <= key.max) return {};
  return fmt::format("{} is out of range; {}", format_number(static_cast<double>(number)),
                     range_of(key));
}

std::vector<std::string_view> split_at_commas(std::string_view text) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t comma = text.find(',');
    std::string_view part = text.substr(0, comma);
    while (!part.empty() && part.front() == ' ') part.remove_prefix(1);
    while (!part.empty() && part.back() == ' ') part.remove_suffix(1);
    parts.push_back(part);
    if (comma == std::string_view::npos) return parts;
    text.remove_prefix(comma + 1);
  }
}

}  // namespace

std::string lower_case(std::string_view text) {
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), ascii_lower);
  return lower;
}

bool Value::is_null() const {
  const Scalar* scalar = single();
  if (!scalar || scalar->quoted) return false;
  if (scalar->text.empty() || scalar->text == "~") return true;
  const std::string lower = lower_case(scalar->text);
  return lower == "null" || lower == "none";
}

bool Value::is_auto() const {
  const Scalar* scalar = single();
  return scalar && !scalar->quoted && lower_case(scalar->text) == "auto";
}

std::string Value::to_string() const {
  if (!is_list) {
    if (items.front().text.empty()) return items.front().quoted ? "''" : "null";
    return fmt::format("'{}'", shorten(items.front().text));
  }
  std::vector<std::string> texts;
  for (const Scalar& item : items) texts.push_back(shorten(item.text));
  return fmt::format("[{}]", fmt::join(texts, ", "));
}

std::optional<double> parse_number(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  if (text.empty() || text.starts_with('+')) return std::nullopt;
  double number = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(number))
    return std::nullopt;
  return number;
}

std::optional<int64_t> parse_integer(std::string_view text) {
  if (text.starts_with('+')) text.remove_prefix(1);
  int64_t integer = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), integer);
  if (error == std::errc() && end == text.data() + text.size()) return integer;
  if (text.find_first_of("eE") == std::string_view::npos) return std::nullopt;
  constexpr double kExact = 9007199254740992.0;  // every integer up to 2^53 is a double
  const std::optional<double> number = parse_number(text);
  if (!number || std::floor(*number) != *number || std::abs(*number) > kExact) return std::nullopt;
  return static_cast<int64_t>(*number);
}

std::optional<bool> parse_bool(std::string_view text) {
  const std::string lower = lower_case(text);
  if (lower == "true") return true;
  if (lower == "false") return false;
  return std::nullopt;
}

std::string format_number(double value) {
  if (value == 0.0) return "0";
  if (std::floor(value) == value && std::abs(value) < 1e15) return fmt::format("{:.0f}", value);
  std::string shortest = fmt::format("{}", value);
  const size_t exponent = shortest.find('e');
  if (exponent != std::string::npos && shortest.find('.') == std::string::npos)
    shortest.insert(exponent, ".0");  // YAML 1.1 takes 1e-05 for a string
  return shortest;
}

std::string range_of(const Key& key) {
  return fmt::format("{} to {}{}{} would do", format_number(key.min), format_number(key.max),
                     key.unit.empty() ? "" : " ", key.unit);
}

Problem read_value(const Key& key, const Value& value, int64_t& out) {
  const Scalar* scalar = value.single();
  const std::optional<int64_t> integer = scalar ? parse_integer(scalar->text) : std::nullopt;
  if (integer) {
    out = *integer;
    return check_range(key, out);
  }
  if (scalar && parse_number(scalar->text) && std::abs(*parse_number(scalar->text)) > 1e15)
    return fmt::format("{} is out of range; {}", scalar->text, range_of(key));
  return not_a(value, "an integer", range_of(key));
}

Problem read_value(const Key& key, const Value& value, double& out) {
  const Scalar* scalar = value.single();
  const std::optional<double> number = scalar ? parse_number(scalar->text) : std::nullopt;
  if (!number) return not_a(value, "a number", range_of(key));
  out = *number;
  return check_range(key, out);
}

Problem read_value(const Key&, const Value& value, bool& out) {
  const Scalar* scalar = value.single();
  const std::optional<bool> flag = scalar ? parse_bool(scalar->text) : std::nullopt;
  if (!flag) return not_a(value, "a switch", "true or false would do");
  out = *flag;
  return {};
}

Problem read_value(const Key&, const Value& value, std::string& out) {
  const Scalar* scalar = value.single();
  if (!scalar || (scalar->quoted && scalar->text.empty()))
    return not_a(value, "a name", "a single name would do");
  if (const Problem problem = check_no_nul(scalar->text)) return problem;
  out = value.is_null() ? std::string() : scalar->text;
  return {};
}

Problem read_value(const Key&, const Value& value, std::vector<std::string>& out) {
  out.clear();
  if (value.is_null()) return {};
  for (const Scalar& item : value.items) {
    if (item.text.empty()) return not_a(value, "a list of names", "leave the empty entry out");
    if (const Problem problem = check_no_nul(item.text)) return problem;
    out.push_back(item.text);
  }
  return {};
}

Problem read_numbers(const Key& key, const Value& value, std::span<double> out) {
  std::vector<std::string_view> texts;
  if (value.is_list)
    for (const Scalar& item : value.items) texts.push_back(item.text);
  else
    texts = split_at_commas(value.items.front().text);
  const std::string wanted = fmt::format("{} numbers", out.size());
  const std::string would_do =
      fmt::format("[{}{}], each {} to {}, would do", "a, b", out.size() == 3 ? ", c" : "",
                  format_number(key.min), format_number(key.max));
  if (texts.size() != out.size()) return not_a(value, wanted, would_do);
  for (size_t i = 0; i < out.size(); ++i) {
    const std::optional<double> number = parse_number(texts[i]);
    if (!number || *number < key.min || *number > key.max) return not_a(value, wanted, would_do);
    out[i] = *number;
  }
  return {};
}

Problem read_value(const Key& key, const Value& value, PpLayout& out) {
  out = {};
  if (const Scalar* scalar = value.single()) {
    const std::string word = lower_case(scalar->text);
    if (word != "even" && word != "auto")
      return not_a(value, "a layout", "even, auto, or a list of layers per stage would do");
    out.kind = word == "auto" ? PpLayout::Kind::kAuto : PpLayout::Kind::kEven;
    return {};
  }
  out.kind = PpLayout::Kind::kList;
  for (const Scalar& item : value.items) {
    const std::optional<int64_t> layers = parse_integer(item.text);
    if (!layers || static_cast<double>(*layers) < key.min || static_cast<double>(*layers) > key.max)
      return not_a(value, "a layout",
                   "even, auto, or a list of layers per stage (each 1 or more) would do");
    out.layers.push_back(*layers);
  }
  if (out.layers.empty())
    return not_a(value, "a layout", "even, auto, or a list of layers per stage would do");
  return {};
}

Problem read_word(const Words& words, const Value& value, size_t& index) {
  const Scalar* scalar = value.single();
  std::string word = value.is_null() ? "none" : scalar ? lower_case(scalar->text) : std::string();
  for (const Synonym& synonym : words.synonyms)
    if (word == lower_case(synonym.word)) word = lower_case(synonym.canonical);
  for (index = 0; index < words.canonical.size(); ++index)
    if (word == lower_case(words.canonical[index])) return {};
  std::string would_do = fmt::format("{} would do", fmt::join(words.canonical, ", "));
  const std::string_view nearest = nearest_word(word, words.canonical);
  if (scalar && words.canonical.size() > 1 && !nearest.empty())
    would_do += fmt::format(" (did you mean {}?)", nearest);
  return not_a(value, "a choice", would_do);
}

}  // namespace nemo
