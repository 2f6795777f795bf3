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
  return typing_distance(word, candidate, half_of_it) <= half_of_it;
}

std::string_view nearest_word(std::string_view word, std::span<const std::string_view> candidates) {
  return nearest(candidates, [word](std::string_view candidate, int limit) {
    return typing_distance(word, candidate, limit);
  });
}

std::string_view nearest_key(std::string_view key, std::span<const std::string_view> candidates) {
  constexpr int kWrongSection = 3;
  return nearest(candidates, [key](std::string_view candidate, int limit) {
    return std::min(typing_distance(key, candidate, limit),
                    kWrongSection + typing_distance(last_word(key), last_word(candidate), limit));
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
