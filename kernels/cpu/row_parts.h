// Sums over the rows of a matrix (weight gradients of norms, bias gradients): the rows are cut into
// parts that depend on their number alone, each part sums into a row of workspace, and the partial
// rows are added in order. So the bits are the same for any number of threads.
#pragma once

#include "kernels/cpu/team.h"

namespace nemo::kernels::NEMO_CPU_ISA {

inline constexpr int64_t kRowsPerPart = 16;
inline constexpr int64_t kMaxRowParts = 128;

// At least one part, so that a sum over no rows is written too.
inline int64_t num_row_parts(int64_t rows) {
  const int64_t parts = (rows + kRowsPerPart - 1) / kRowsPerPart;
  return parts < 1 ? 1 : parts > kMaxRowParts ? kMaxRowParts : parts;
}

inline int64_t row_part_begin(int64_t rows, int64_t num_parts, int64_t part) {
  return rows * part / num_parts;
}

// out[j] (+)= sum over parts of partial[part, j]; partial: [num_parts, h].
inline void add_partial_rows(const Stream& stream, const float* partial, int64_t num_parts,
                             int64_t h, float* out, bool accumulate) {
  constexpr int64_t kBlock = 256;  // columns that sum in registers and L1
  parallel_pieces(stream, h, kBlock, num_parts * h * int64_t{sizeof(float)},
                  [=](int64_t begin, int64_t end) {
                    for (int64_t first = begin; first < end; first += kBlock) {
                      const int64_t n = end - first < kBlock ? end - first : kBlock;
                      float total[kBlock] = {};
                      for (int64_t part = 0; part < num_parts; ++part) {
                        const float* row = partial + part * h + first;
#pragma omp simd
                        for (int64_t j = 0; j < n; ++j) total[j] += row[j];
                      }
#pragma omp simd
                      for (int64_t j = 0; j < n; ++j)
                        out[first + j] = accumulate ? out[first + j] + total[j] : total[j];
                    }
                  });
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
