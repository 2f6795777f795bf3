// What stood in a recipe or an override, before it has a type; and how it gets one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/recipe/schema.h"

namespace nemo {

struct Scalar {
  std::string text;
  bool quoted = false;  // "null" is a word, null is none
};

// One scalar, or a list of them.
struct Value {
  std::vector<Scalar> items;
  bool is_list = false;

  static Value scalar(std::string text) { return {{{std::move(text), false}}, false}; }
  const Scalar* single() const { return is_list ? nullptr : items.data(); }
  bool is_null() const;  // null, ~, none, or nothing, unquoted
  bool is_auto() const;  // auto, unquoted
  std::string to_string() const;
};

// Numbers read from their text, so that 08 is eight and 1e5 a number: optional sign, decimal digits
// (an integer may be written 1e5), nothing before or after. No NaN, no infinity, nothing beyond the
// type.
std::optional<int64_t> parse_integer(std::string_view text);
std::optional<double> parse_number(std::string_view text);
std::optional<bool> parse_bool(std::string_view text);

// The shortest text that any YAML reads back as the same double: 65536, 0.1, 1.0e-05.
std::string format_number(double value);

std::string lower_case(std::string_view text);

// "1 to 65536 ranks would do"
std::string range_of(const Key& key);

// Reads value as the key's type into `out`, range included. Returns what is wrong with it and what
// would do ("'two' is not an integer; 1 or more would do"), or nothing when it is well.
std::optional<std::string> read_value(const Key& key, const Value& value, int64_t& out);
std::optional<std::string> read_value(const Key& key, const Value& value, double& out);
std::optional<std::string> read_value(const Key& key, const Value& value, bool& out);
std::optional<std::string> read_value(const Key& key, const Value& value, std::string& out);
std::optional<std::string> read_value(const Key& key, const Value& value,
                                      std::vector<std::string>& out);
// Exactly out.size() numbers, as a list or as one comma-separated scalar (969,30,1).
std::optional<std::string> read_numbers(const Key& key, const Value& value, std::span<double> out);
std::optional<std::string> read_value(const Key& key, const Value& value, PpLayout& out);

struct Words {
  std::span<const std::string_view> canonical;
  std::span<const Synonym> synonyms;
};

// The index of the word in words.canonical; letter case does not count.
std::optional<std::string> read_word(const Words& words, const Value& value, size_t& index);

template <Choice E>
std::optional<std::string> read_value(const Key&, const Value& value, E& out) {
  size_t index = 0;
  auto problem = read_word({Choices<E>::kWords, kSynonyms<E>}, value, index);
  if (!problem) out = static_cast<E>(index);
  return problem;
}

template <typename T>
std::optional<std::string> read_value(const Key& key, const Value& value, std::optional<T>& out) {
  if (value.is_null()) {
    out.reset();
    return std::nullopt;
  }
  return read_value(key, value, out.emplace());
}

template <size_t N>
std::optional<std::string> read_value(const Key& key, const Value& value,
                                      std::array<double, N>& out) {
  return read_numbers(key, value, out);
}

}  // namespace nemo
