// "Did you mean …": the nearest word, and the nearest number that would do.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace nemo {

// Whatever the locale.
constexpr char ascii_lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

// Of a dotted key: what stands behind its last dot.
std::string_view last_word(std::string_view key);

// Typing mistakes that turn a into b: insert, delete, replace or swap neighbours; case counts half.
// Gives up with limit + 1 once it is more than limit (in half mistakes).
int typing_distance(std::string_view a, std::string_view b, int limit);

// At most half of the word's letters are mistaken; case does not count.
bool is_near(std::string_view word, std::string_view candidate);

// Whether word's parts between underscores begin parts of the candidate, in order: "warmup" and
// "w_steps" of "warmup_steps".
bool abbreviates(std::string_view word, std::string_view candidate);

// The candidate with the smallest distance, the first of equals; "" where none is near.
std::string_view nearest_word(std::string_view word, std::span<const std::string_view> candidates);

// The same for dotted keys. One of the same section that the key abbreviates comes first, then
// those with at most a third of the last word's letters mistaken, under the right section or
// another.
std::string_view nearest_key(std::string_view key, std::span<const std::string_view> candidates);

// The divisors of `number` next below and above `around`: "2 or 4"; only one where there is one.
std::string nearest_divisors(int64_t number, int64_t around);
// The positive multiples of `step` next below and above `around`.
std::string nearest_multiples(int64_t step, int64_t around);

}  // namespace nemo
