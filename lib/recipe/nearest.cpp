#include "lib/recipe/nearest.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

namespace nemo {
namespace {

constexpr int kMistake = 2;  // in half mistakes
constexpr int kWrongCase = 1;
constexpr size_t kLongestWord = 80;
constexpr int kFarthest = static_cast<int>(2 * kLongestWord) * kMistake;

int replace_cost(char a, char b) {
  if (a == b) return 0;
  return ascii_lower(a) == ascii_lower(b) ? kWrongCase : kMistake;
}

// The candidate with the smallest distance(candidate, limit), which may give up beyond limit.
template <typename Distance>
std::string_view nearest(std::span<const std::string_view> candidates, const Distance& distance) {
  std::string_view found;
  int best = kFarthest;
  for (const std::string_view candidate : candidates) {
    const int next = distance(candidate, best - 1);
    if (next >= best) continue;
    best = next;
    found = candidate;
  }
  return found;
}

std::string either(int64_t below, int64_t above) {
  if (below <= 0) return fmt::format("{}", above);
  if (above <= 0 || above == below) return fmt::format("{}", below);
  return fmt::format("{} or {}", below, above);
}

std::string lower(std::string_view word) {
  std::string lower(word);
  std::ranges::transform(lower, lower.begin(), ascii_lower);
  return lower;
}

std::string_view section_of(std::string_view key) {
  return key.substr(0, key.size() - last_word(key).size());
}

// Where `part` begins a word of `text` (words_with_underscores), from `from` on.
size_t find_beginning(std::string_view text, std::string_view part, size_t from) {
  size_t at = text.find(part, from);
  while (at != std::string_view::npos && at > 0 && text[at - 1] != '_')
    at = text.find(part, at + 1);
  return at;
}

}  // namespace

std::string_view last_word(std::string_view key) {
  const size_t dot = key.rfind('.');
  return dot == std::string_view::npos ? key : key.substr(dot + 1);
}

int typing_distance(std::string_view a, std::string_view b, int limit) {
  a = a.substr(0, kLongestWord);
  b = b.substr(0, kLongestWord);
  const int length_gap =
      static_cast<int>(a.size() > b.size() ? a.size() - b.size() : b.size() - a.size());
  if (length_gap * kMistake > limit) return limit + 1;
  using Row = std::array<int, kLongestWord + 1>;
  std::array<Row, 3> rows;  // of the dynamic programme: i-2, i-1, i
  Row *before = &rows[0], *above = &rows[1], *row = &rows[2];
  for (size_t j = 0; j <= b.size(); ++j) (*above)[j] = static_cast<int>(j) * kMistake;
  for (size_t i = 1; i <= a.size(); ++i) {
    int best = (*row)[0] = static_cast<int>(i) * kMistake;
    for (size_t j = 1; j <= b.size(); ++j) {
      int cost = std::min({(*above)[j] + kMistake, (*row)[j - 1] + kMistake,
                           (*above)[j - 1] + replace_cost(a[i - 1], b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        cost = std::min(cost, (*before)[j - 2] + kMistake);
      (*row)[j] = cost;
      best = std::min(best, cost);
    }
    if (best > limit) return limit + 1;
    std::swap(before, above);
    std::swap(above, row);
  }
  return std::min((*above)[b.size()], limit + 1);
}

bool is_near(std::string_view word, std::string_view candidate) {
  const int half_of_it = static_cast<int>(word.size());
  return typing_distance(lower(word), lower(candidate), half_of_it) <= half_of_it;
}

bool abbreviates(std::string_view word, std::string_view candidate) {
  size_t at = 0;
  for (size_t begin = 0; begin <= word.size();) {
    const size_t end = std::min(word.find('_', begin), word.size());
    const std::string_view part = word.substr(begin, end - begin);
    at = part.empty() ? std::string_view::npos : find_beginning(candidate, part, at);
    if (at == std::string_view::npos) return false;
    at += part.size();
    begin = end + 1;
  }
  return true;
}

std::string_view nearest_word(std::string_view word, std::span<const std::string_view> candidates) {
  const std::string_view found = nearest(candidates, [word](std::string_view candidate, int limit) {
    return typing_distance(word, candidate, limit);
  });
  return is_near(word, found) ? found : std::string_view();
}

std::string_view nearest_key(std::string_view key, std::span<const std::string_view> candidates) {
  constexpr int kWrongSection = 3;
  const auto distance = [key](std::string_view candidate, int limit) {
    return std::min(typing_distance(key, candidate, limit),
                    kWrongSection + typing_distance(last_word(key), last_word(candidate), limit));
  };
  const bool has_section = !section_of(key).empty();
  const std::string_view longer = nearest(candidates, [&](std::string_view candidate, int limit) {
    const bool is_longer = (!has_section || section_of(candidate) == section_of(key)) &&
                           abbreviates(last_word(key), last_word(candidate));
    return is_longer ? distance(candidate, limit) : kFarthest;
  });
  if (!longer.empty()) return longer;
  return nearest(candidates, [&](std::string_view candidate, int limit) {
    const int farthest = static_cast<int>(last_word(key).size()) * kMistake / 3;
    const bool near = typing_distance(last_word(key), last_word(candidate), farthest) <= farthest ||
                      typing_distance(key, candidate, farthest) <= farthest;
    return near ? distance(candidate, limit) : kFarthest;
  });
}

std::string nearest_divisors(int64_t number, int64_t around) {
  int64_t below = 0;
  int64_t above = 0;
  const auto consider = [&](int64_t divisor) {
    if (divisor <= around) below = std::max(below, divisor);
    if (divisor >= around && (above == 0 || divisor < above)) above = divisor;
  };
  for (int64_t divisor = 1; divisor * divisor <= number; ++divisor) {
    if (number % divisor != 0) continue;
    consider(divisor);
    consider(number / divisor);
  }
  return either(below, above);
}

std::string nearest_multiples(int64_t step, int64_t around) {
  return either(around / step * step, (around / step + 1) * step);
}

}  // namespace nemo
