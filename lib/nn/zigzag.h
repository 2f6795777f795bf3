// Which tokens of a sample a cp rank holds.
#pragma once

#include <array>

#include "lib/core/math.h"

namespace nemo {

// The columns of rank `rank`, in its order: chunks rank and 2 cp - 1 - rank of 2 cp equal chunks,
// so that all ranks have the same share of a causal mask. Of one rank all, whatever the length.
constexpr std::array<Range, 2> zigzag_columns(int64_t seq_length, int64_t cp_size, int64_t rank) {
  return {split_evenly(seq_length, 2 * cp_size, rank),
          split_evenly(seq_length, 2 * cp_size, 2 * cp_size - 1 - rank)};
}

}  // namespace nemo
