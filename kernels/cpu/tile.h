// What matrix products and attention compute with: sums of products in a tile of registers, and the
// packing of blocks of rows for it. Operands are fp32 that stays in the first two caches.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/functors/storage.h"

namespace nemo::kernels::NEMO_CPU_ISA {

#ifdef __AVX512F__
inline constexpr int kLanes = 16;
inline constexpr int kTileRows = 12;
#else
inline constexpr int kLanes = 8;
inline constexpr int kTileRows = 6;
#endif
// kTileRows x kTile sums leave just the registers that the operands need.
inline constexpr int kTile = 2 * kLanes;

using Vector [[gnu::vector_size(4 * kLanes)]] = float;
using VectorInMemory [[gnu::vector_size(4 * kLanes), gnu::aligned(4), gnu::may_alias]] = float;

NEMO_INLINE int64_t min_of(int64_t a, int64_t b) {
  return a < b ? a : b;
}
NEMO_INLINE int64_t max_of(int64_t a, int64_t b) {
  return a > b ? a : b;
}
NEMO_INLINE int64_t num_parts(int64_t count, int64_t part) {
  return (count + part - 1) / part;
}

NEMO_INLINE Vector load_vector(const float* p) {
  return *reinterpret_cast<const VectorInMemory*>(p);
}
NEMO_INLINE void store_vector(Vector x, float* p) {
  *reinterpret_cast<VectorInMemory*>(p) = x;
}

// Of what is stored in 16 bits.
template <typename T>
NEMO_INLINE Vector load_vector(const T* p) {
  float x[kLanes];
#pragma omp simd
  for (int lane = 0; lane < kLanes; ++lane) x[lane] = load(p + lane);
  return load_vector(static_cast<const float*>(x));
}
template <typename T>
NEMO_INLINE void store_vector(Vector value, T* p) {
  float x[kLanes];
  store_vector(value, static_cast<float*>(x));
#pragma omp simd
  for (int lane = 0; lane < kLanes; ++lane) store(x[lane], p + lane);
}

// Element (i, k) of a left operand is data[i * row + k * col].
struct LeftOperand {
  const float* data;
  int64_t row, col;
};

// Row k of a right operand, kTile wide, starts at data[k * row].
struct RightOperand {
  const float* data;
  int64_t row;
};

// sum += a[kRows, depth] b[depth, kTile]. Meanwhile meanwhile(0 … kRows - 1), spread over the depth
// so that the arithmetic hides it.
template <int kRows, typename Meanwhile>
NEMO_INLINE void add_products(LeftOperand a, RightOperand b, int64_t depth,
                              const Meanwhile& meanwhile, Vector (&sum)[kRows][2]) {
  // One pointer for three rows: more than that would not fit the registers.
  constexpr int kPointers = (kRows + 2) / 3;
  const float* rows[kPointers];
  for (int p = 0; p < kPointers; ++p) rows[p] = a.data + 3 * p * a.row;
  constexpr int kStep = Meanwhile::kSpread ? 1 : kRows;
  for (int s = 0; s < kRows; s += kStep) {
    for (int i = s; i < s + kStep; ++i) meanwhile(i);
    const int64_t length = depth * (s + kStep) / kRows - depth * s / kRows;
#pragma GCC unroll 2
    for (int64_t k = 0; k < length; ++k) {
      const Vector b0 = load_vector(b.data), b1 = load_vector(b.data + kLanes);
#pragma GCC unroll 12
      for (int i = 0; i < kRows; ++i) {
        const float factor = rows[i / 3][i % 3 * a.row];
        sum[i][0] += factor * b0;
        sum[i][1] += factor * b1;
      }
#pragma GCC unroll 4
      for (int p = 0; p < kPointers; ++p) rows[p] += a.col;
      b.data += b.row;
    }
  }
}

struct Nothing {
  static constexpr bool kSpread = false;
  NEMO_INLINE void operator()(int) const {}
};

// c[kRows, kTile] (+)= a[kRows, depth] b[depth, kTile].
template <int kRows, bool kAccumulate>
void multiply_tile(LeftOperand a, RightOperand b, int64_t depth, float* c, int64_t c_row) {
  Vector sum[kRows][2];
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    sum[i][0] = kAccumulate ? load_vector(c + i * c_row) : Vector{};
    sum[i][1] = kAccumulate ? load_vector(c + i * c_row + kLanes) : Vector{};
  }
  add_products(a, b, depth, Nothing(), sum);
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i) {
    store_vector(sum[i][0], c + i * c_row);
    store_vector(sum[i][1], c + i * c_row + kLanes);
  }
}

// The same for rows <= kRows.
template <bool kAccumulate, int kRows = kTileRows>
void multiply_last_tile(int64_t rows, LeftOperand a, RightOperand b, int64_t depth, float* c,
                        int64_t c_row) {
  if (rows == kRows)
    multiply_tile<kRows, kAccumulate>(a, b, depth, c, c_row);
  else if constexpr (kRows > 1)
    multiply_last_tile<kAccumulate, kRows - 1>(rows, a, b, depth, c, c_row);
}

// c[rows, kTile] (+)= a[rows, depth] b[depth, kTile].
template <bool kAccumulate>
void multiply(int64_t rows, LeftOperand a, RightOperand b, int64_t depth, float* c, int64_t c_row) {
  int64_t i = 0;
  for (; i + kTileRows <= rows; i += kTileRows, a.data += kTileRows * a.row)
    multiply_tile<kTileRows, kAccumulate>(a, b, depth, c + i * c_row, c_row);
  if (i < rows) multiply_last_tile<kAccumulate>(rows - i, a, b, depth, c + i * c_row, c_row);
}

// to[rows, cols] = factor * from, zeros up to the end of a row of `to`.
template <typename From>
void copy_rows(const From* from, int64_t from_row, int64_t rows, int64_t cols, float factor,
               float* to, int64_t to_row) {
  // Rows may be pages apart, where no hardware sees the next one coming.
  constexpr int64_t kAhead = 4, kLine = 16;
  for (int64_t i = 0; i < rows; ++i, from += from_row, to += to_row) {
    for (int64_t j = 0; j < cols; j += kLine) __builtin_prefetch(from + kAhead * from_row + j);
#pragma omp simd
    for (int64_t j = 0; j < cols; ++j) to[j] = factor * load(from + j);
    for (int64_t j = cols; j < to_row; ++j) to[j] = 0;
  }
}

// One round of transposing kLanes vectors: swaps blocks of kDistance across each pair of vectors.
template <int kDistance, int... kLane>
NEMO_INLINE void exchange(Vector& a, Vector& b, std::integer_sequence<int, kLane...>) {
  const Vector low =
      __builtin_shufflevector(a, b, (kLane & kDistance ? kLanes + kLane - kDistance : kLane)...);
  b = __builtin_shufflevector(a, b, (kLane & kDistance ? kLanes + kLane : kLane + kDistance)...);
  a = low;
}

template <int kDistance = kLanes / 2>
NEMO_INLINE void transpose_vectors(Vector (&x)[kLanes]) {
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i)
    if (!(i & kDistance))
      exchange<kDistance>(x[i], x[i + kDistance], std::make_integer_sequence<int, kLanes>());
  if constexpr (kDistance > 1) transpose_vectors<kDistance / 2>(x);
}

// to[j, i] = factor * from[i, j] for i < rows, j < cols.
template <typename From, typename To>
void copy_transposed(const From* from, int64_t from_row, int64_t rows, int64_t cols, float factor,
                     To* to, int64_t to_row) {
  for (int64_t i = 0; i < rows; i += kLanes)
    for (int64_t j = 0; j < cols; j += kLanes) {
      const From* block = from + i * from_row + j;
      To* transposed = to + j * to_row + i;
      if (i + kLanes <= rows && j + kLanes <= cols) {
        Vector x[kLanes];
#pragma GCC unroll 16
        for (int l = 0; l < kLanes; ++l) x[l] = factor * load_vector(block + l * from_row);
        transpose_vectors(x);
#pragma GCC unroll 16
        for (int l = 0; l < kLanes; ++l) store_vector(x[l], transposed + l * to_row);
      } else {
        for (int64_t r = 0; r < kLanes && i + r < rows; ++r)
          for (int64_t c = 0; c < kLanes && j + c < cols; ++c)
            store(factor * load(block + r * from_row + c), transposed + c * to_row + r);
      }
    }
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
