// numpy.random.RandomState(seed), as far as sample orders need it: its generator is std::mt19937
// and its shuffle takes i = n-1 … 1 in turn and swaps item i with one drawn from 0 … i, by drawing
// 32 bits under the smallest mask 2^k - 1 >= i until they are at most i.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <random>
#include <span>
#include <utility>

#include "lib/core/error.h"

namespace nemo {

class NumpyRandom {
 public:
  explicit NumpyRandom(uint32_t seed) : generator_(seed) {}

  template <typename T>
  void shuffle(std::span<T> items) {
    NEMO_CHECK(items.size() <= uint64_t{1} << 32, "[numpy_random] {} items", items.size());
    // Most partners lie outside the cache, so a block of them is drawn and fetched ahead.
    constexpr size_t kBlock = 64;
    uint32_t partners[kBlock];
    for (size_t left = items.size(); left > 1;) {
      const size_t count = std::min(kBlock, left - 1);
      for (size_t k = 0; k < count; ++k) {
        partners[k] = draw_up_to(static_cast<uint32_t>(left - 1 - k));
        __builtin_prefetch(&items[partners[k]], 1);
      }
      for (size_t k = 0; k < count; ++k) std::swap(items[--left], items[partners[k]]);
    }
  }

 private:
  uint32_t draw_up_to(uint32_t max) {
    const uint32_t mask = ~uint32_t{0} >> std::countl_zero(max);
    uint32_t value = 0;
    do value = static_cast<uint32_t>(generator_()) & mask;
    while (value > max);
    return value;
  }

  std::mt19937 generator_;
};

}  // namespace nemo
