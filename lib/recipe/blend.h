// data.paths of kind megatron, as Megatron and NeMo write a blend: prefixes alone, or
// [weight, prefix, weight, prefix, …].
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace nemo {

struct Blend {
  std::vector<std::string> prefixes;
  std::vector<double> weights;  // as given; empty where the datasets count by their size
};

// Whether a word of data.paths is a weight and no path: a number. A file of such a name is ./30.
bool is_blend_weight(const std::string& word);

// Returns what is wrong with the words and what would do, or nothing when `out` is well.
std::optional<std::string> read_blend(const std::vector<std::string>& words, Blend& out);

}  // namespace nemo
