// Rows moved by index, as a mixture of experts sends tokens to experts and back: each the other's
// gradient, where the indices are each other's inverse. A negative index means no row; one beyond
// the rows of x is an InvariantError. x and out have one
// dtype, fp32, bf16 or fp16; index int32; h may be 1 (a number a row). No tensor may
// alias another.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

// out[r] = x[index[r]], zeros where there is none. x: [rows, h]; index: [N]; out: [N, h].
void gather_rows(Stream& stream, const Tensor& x, const Tensor& index, const Tensor& out);

// out[t] = sum over j, in order, of x[index[t,j]], zeros where there is none.
// x: [rows, h]; index: [T, k]; out: [T, h].
void sum_rows(Stream& stream, const Tensor& x, const Tensor& index, const Tensor& out);

}  // namespace nemo::kernels
