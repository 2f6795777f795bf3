// Integer arithmetic that refuses to lose anything.
#pragma once

#include <concepts>
#include <cstdint>
#include <utility>

#include "lib/core/error.h"

namespace nemo {

// a / b, where b must divide a.
template <std::integral T>
constexpr T div_exact(T a, T b) {
  NEMO_CHECK(b != 0 && a % b == 0, "[div_exact] {} is not divisible by {}", a, b);
  return a / b;
}

template <std::integral T>
constexpr T ceil_div(T a, T b) {
  return (a + b - 1) / b;
}

template <std::integral T>
constexpr T round_up(T a, T multiple) {
  return ceil_div(a, multiple) * multiple;
}

// value as To; the value must be representable.
template <std::integral To, std::integral From>
constexpr To narrow(From value) {
  NEMO_CHECK(std::in_range<To>(value), "[narrow] {} does not fit {} bytes", value, sizeof(To));
  return static_cast<To>(value);
}

// The half-open range of part `index` of `num_parts` nearly equal parts of `count` items; the first
// count % num_parts parts hold one item more.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  constexpr int64_t size() const { return end - begin; }
};

constexpr Range split_evenly(int64_t count, int64_t num_parts, int64_t index) {
  const int64_t base = count / num_parts;
  const int64_t extra = count % num_parts;
  const int64_t begin = index * base + (index < extra ? index : extra);
  return {begin, begin + base + (index < extra ? 1 : 0)};
}

}  // namespace nemo
