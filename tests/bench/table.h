// Times calls and prints rows that compare them with a ceiling of the same run.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "lib/core/clock.h"

namespace nemo::bench {

// Seconds of one call: the median, and the best, which a busy machine disturbs least.
struct Timing {
  double median = 0;
  double best = 0;
};

inline Timing timing_of(std::vector<double> seconds) {
  std::ranges::sort(seconds);
  return {seconds[seconds.size() / 2], seconds[0]};
}

template <typename Call>
Timing time_calls(Call&& call) {
  constexpr double kBudget = 0.4;
  constexpr size_t kMinCalls = 5;
  call();
  std::vector<double> seconds;
  const auto begin = Clock::now();
  while (seconds.size() < kMinCalls || seconds_since(begin) < kBudget) {
    const auto start = Clock::now();
    call();
    seconds.push_back(seconds_since(start));
  }
  return timing_of(std::move(seconds));
}

inline void print_heading(int num_threads) {
  fmt::print("\n{} threads{:38} {:>9} {:>9}\n", num_threads, "", "median ms", "best ms");
}

// `work` is in operations or bytes, the ceiling in the same per second; 0 means there is none.
inline void print_row(const std::string& name, const std::string& shape, const Timing& timing,
                      double work, const char* unit, double ceiling) {
  const double rate = work / timing.best;
  fmt::print("{:<24} {:<22} {:>9.3f} {:>9.3f} {:>8.1f} {}", name, shape, timing.median * 1e3,
             timing.best * 1e3, rate * 1e-9, unit);
  if (ceiling > 0) fmt::print(" {:>4.0f}%", 100 * rate / ceiling);
  fmt::print("\n");
}

}  // namespace nemo::bench
