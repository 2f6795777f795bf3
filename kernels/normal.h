// Normal numbers that depend on (seed, stream, element index) alone, not on who draws them.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

// The slice of a global matrix that a tensor holds, and the numbers that fill it.
struct NormalSlice {
  uint64_t seed;
  uint64_t name_hash;  // hash_name() of the logical tensor
  float std;
  int64_t row_length;            // of the global matrix
  int64_t first_row, first_col;  // of the slice
};

// out[r, c] = std * N(index), index = (first_row + r) * row_length + first_col + c.
// N(i): Box-Muller on u = philox(seed, i / 4, name_hash), whose first two words give elements 0 and
// 1 of four, the last two elements 2 and 3: one word the radius, one the angle (cosine for even i,
// sine for odd i). In fp32, bit for bit the same on every instruction set;
// kernels/functors/normal.h has the steps. |N| <= 6.67. out: [R, C] fp32, rows may be strided.
void fill_normal(Stream& stream, const NormalSlice& slice, const Tensor& out);

}  // namespace nemo::kernels
