// Rows of a table by id. ids: [T] int32; table: [rows, h], holding the ids first_row …
// first_row + rows - 1 of a larger table (all of it where first_row is 0); y, dy: [T, h].
// table, y and dy: each fp32, bf16 or fp16.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

// y[t] (+)= table[ids[t] - first_row], 0 for an id outside the table; += when accumulate.
void embedding_forward(Stream& stream, const Tensor& ids, const Tensor& table, int64_t first_row,
                       const Tensor& y, bool accumulate);

// dtable[ids[t] - first_row] (+)= dy[t]; without accumulate the other rows become 0. dtable is
// fp32; every row sums in the order of t.
void embedding_backward(Stream& stream, const Tensor& ids, const Tensor& dy, int64_t first_row,
                        const Tensor& dtable, bool accumulate);

}  // namespace nemo::kernels
