// Rules over several keys; each says what is wrong, with both values and what would do.
#pragma once

#include <fmt/format.h>

#include <optional>
#include <string>
#include <string_view>

#include "lib/recipe/draft.h"
#include "lib/recipe/nearest.h"

namespace nemo {

using Problem = std::optional<std::string>;

// `size` must divide `count`, the value of `counted`.
inline Problem divides(int64_t size, std::string_view counted, int64_t count) {
  if (count % size == 0) return {};
  return fmt::format("{} does not divide {} {}; {} would do", size, counted, count,
                     nearest_divisors(count, size));
}

void check_model_rules(Draft& draft);
void check_parallel_rules(Draft& draft);

}  // namespace nemo
