// For ops whose twins compute with fp32 what may be stored in 16 bits.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

// x in fp32: x itself, or a copy in workspace that lives as long as the tensor returned.
Tensor widened(Stream& stream, const Tensor& x);

// Where fp32 results for `to` go: `to` itself, or workspace that narrow() rounds into it.
Tensor wide_result(Stream& stream, const Tensor& to);
void narrow(Stream& stream, const Tensor& wide, const Tensor& to);

}  // namespace nemo::kernels
