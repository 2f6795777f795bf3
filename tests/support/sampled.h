// Sanitizers look for other things than numbers, and take many times as long.
#pragma once

#include <cstddef>

namespace nemo::test {

#ifdef NEMO_SANITIZED
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

// Whether a sanitizer's run leaves out this one of a list, because it takes one in `every`.
inline constexpr bool left_out(size_t index, size_t every) {
  return kSanitized && index % every != 0;
}

}  // namespace nemo::test
