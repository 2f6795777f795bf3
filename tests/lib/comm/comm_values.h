// The numbers that communicator tests send, and what must come out.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "lib/comm/communicator.h"
#include "lib/core/math.h"
#include "tests/support/run_ranks.h"

namespace nemo::test {

// Element i of what a rank contributes: bits that look random, over many magnitudes, so that sums
// differ in their last bits when the ranks are added in another order.
template <typename T>
T comm_value(int rank, int64_t i) {
  uint64_t h =
      (static_cast<uint64_t>(i) * 64 + static_cast<uint64_t>(rank) + 1) * 0x9E3779B97F4A7C15u;
  h ^= h >> 29;
  h *= 0xBF58476D1CE4E5B9u;
  h ^= h >> 32;
  if constexpr (std::is_integral_v<T>) {
    return static_cast<T>(static_cast<int32_t>(h) / 1024);
  } else {
    const double mantissa = static_cast<double>(h & 0xffffff) / 0x1p24 - 0.5;
    const double value = std::ldexp(mantissa, static_cast<int>(h >> 60));
    if constexpr (std::is_same_v<T, BFloat16>)
      return to_bfloat16(static_cast<float>(value));
    else if constexpr (std::is_same_v<T, Float16>)
      return to_float16(static_cast<float>(value));
    else
      return static_cast<T>(value);
  }
}

// What n ranks' elements i reduce to, from the definition.
template <typename T>
T reduced_value(int num_ranks, ReduceOp op, int64_t i) {
  if constexpr (std::is_same_v<T, BFloat16> || std::is_same_v<T, Float16>) {
    float result = to_float(comm_value<T>(0, i));
    for (int rank = 1; rank < num_ranks; ++rank) {
      const float next = to_float(comm_value<T>(rank, i));
      result = op == ReduceOp::kSum ? result + next : std::max(result, next);
    }
    if constexpr (std::is_same_v<T, BFloat16>)
      return to_bfloat16(result);
    else
      return to_float16(result);
  } else {
    T result = comm_value<T>(0, i);
    for (int rank = 1; rank < num_ranks; ++rank) {
      const T next = comm_value<T>(rank, i);
      result = op == ReduceOp::kSum ? result + next : std::max(result, next);
    }
    return result;
  }
}

// A tensor of zeros, in the rank's arena or outside.
template <typename T>
struct Owned {
  Owned(TestRank& rank, const Shape& shape) {
    if (rank.alternate) rank.in_arena = !rank.in_arena;
    if (rank.in_arena) {
      tensor = Tensor(rank.arena, DTypeOf<T>::kValue, shape, MemoryCategory::kCommunication, "x");
    } else {
      heap.resize(static_cast<size_t>(shape.numel()));
      tensor = Tensor(heap.data(), DTypeOf<T>::kValue, shape);
    }
    values = {static_cast<T*>(tensor.raw()), static_cast<size_t>(shape.numel())};
    std::ranges::fill(values, T{});
  }
  Owned(Owned&&) = default;

  template <typename F>
  Owned& fill(F&& f) {
    for (int64_t i = 0; i < std::ssize(values); ++i) values[static_cast<size_t>(i)] = f(i);
    return *this;
  }
  // Every element, bit for bit.
  template <typename F>
  void expect(const char* what, F&& f) const {
    for (int64_t i = 0; i < std::ssize(values); ++i) {
      const T wanted = f(i);
      NEMO_CHECK(std::memcmp(&values[static_cast<size_t>(i)], &wanted, sizeof(T)) == 0,
                 "{} of {}: element {} differs", what, tensor.shape().to_string(), i);
    }
  }

  std::vector<T> heap;
  Tensor tensor;
  std::span<T> values;
};

}  // namespace nemo::test
