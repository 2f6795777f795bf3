#include "lib/recipe/blend.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "lib/recipe/value.h"

namespace nemo {

bool is_blend_weight(const std::string& word) {
  return parse_number(word).has_value();
}

std::optional<std::string> read_blend(const std::vector<std::string>& words, Blend& out) {
  out = {};
  if (std::ranges::none_of(words, is_blend_weight)) {
    out.prefixes = words;
    return {};
  }
  for (size_t i = 0; i < words.size(); ++i) {
    const bool weight_expected = i % 2 == 0;
    if (is_blend_weight(words[i]) != weight_expected)
      return fmt::format(
          "'{}' stands where a {} belongs; weight, prefix, weight, prefix, … or prefixes alone "
          "would do",
          words[i], weight_expected ? "weight" : "prefix");
    if (!weight_expected) {
      out.prefixes.push_back(words[i]);
      continue;
    }
    out.weights.push_back(*parse_number(words[i]));
    if (out.weights.back() <= 0)
      return fmt::format("weight {} would leave its dataset out; a number above 0 would do",
                         words[i]);
  }
  if (words.size() % 2 == 1)
    return fmt::format("weight '{}' has no prefix behind it; weight, prefix pairs would do",
                       words.back());
  const double sum = std::accumulate(out.weights.begin(), out.weights.end(), 0.0);
  if (!std::isfinite(sum))
    return fmt::format("weights sum to more than {}; smaller ones would do",
                       format_number(std::numeric_limits<double>::max()));
  for (const double weight : out.weights)
    if (weight / sum == 0)
      return fmt::format("weight {} of {} would leave its dataset out; a larger one would do",
                         format_number(weight), format_number(sum));
  return {};
}

}  // namespace nemo
