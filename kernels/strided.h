// Copies and sums between tensors of one shape, each fp32, bf16 or fp16 (rounded to nearest even)
// and with strides of its own, the last dim dense: how a range of rows or of heads is packed for a
// message, and unpacked.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

// to = from.
void strided_copy(Stream& stream, const Tensor& from, const Tensor& to);

// to += from.
void strided_add(Stream& stream, const Tensor& from, const Tensor& to);

}  // namespace nemo::kernels
