#include "lib/data/parts.h"

#include <cmath>

namespace nemo {

std::string_view to_string(Part part) {
  switch (part) {
    case Part::kTrain:
      return "training";
    case Part::kValidation:
      return "validation";
    case Part::kTest:
      return "test";
  }
  return "";
}

PerPart<Range> cut_into_parts(int64_t count, const PerPart<double>& split) {
  const double sum = split[0] + split[1] + split[2];
  if (!(sum > 0.0))
    throw_usage("[data.split] the shares sum to {}, not to more than 0; give [0.9, 0.1, 0]", sum);
  PerPart<Range> parts;
  double cumulated = 0.0;
  int64_t begin = 0;
  for (size_t part = 0; part < kNumParts; ++part) {
    cumulated += split[part] / sum;
    // std::nearbyint rounds half to even.
    const auto end = static_cast<int64_t>(std::nearbyint(cumulated * static_cast<double>(count)));
    parts[part] = {begin, end};
    begin = end;
  }
  return parts;
}

}  // namespace nemo
