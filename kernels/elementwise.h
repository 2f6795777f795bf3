// Elementwise maps and full reductions of contiguous tensors of any one shape, fp32 where nothing
// else is said.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

// out = a + b; one dtype, of fp32, bf16, fp16 and fp64; out may alias either.
void add(Stream& stream, const Tensor& a, const Tensor& b, const Tensor& out);

// x = value; of the same dtypes.
void fill(Stream& stream, const Tensor& x, float value);

// to = from: one dtype, or any two of fp32, bf16 and fp16 (rounded to nearest even).
void convert(Stream& stream, const Tensor& from, const Tensor& to);

// sum[0] += sum of x^2, in double: fixed order, the same for any number of threads. sum: [1] fp64.
void sum_squares(Stream& stream, const Tensor& x, const Tensor& sum);

}  // namespace nemo::kernels
