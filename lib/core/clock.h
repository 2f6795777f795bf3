// The clock that durations and deadlines are taken from.
#pragma once

#include <chrono>

namespace nemo {

using Clock = std::chrono::steady_clock;

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace nemo
