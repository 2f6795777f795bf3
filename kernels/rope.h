// Rotary position embedding (Su et al. 2021) in the half-split layout of Llama checkpoints: element
// i is paired with i + D/2.
//   x[i]       <- x[i] cos - x[i + D/2] sin
//   x[i + D/2] <- x[i + D/2] cos + x[i] sin
// x: [B, S, H, D], any strides, D dense; in place. positions: [S] int32, 0 … num_positions - 1, the
// same for every batch row. table: [num_positions, D], row p = D/2 cosines then D/2 sines of p *
// frequency[i]. x and table: each fp32, bf16 or fp16.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

void rope_forward(Stream& stream, const Tensor& x, const Tensor& positions, const Tensor& table);

// The transpose of forward: a rotation by the negative angle. dx is rotated in place.
void rope_backward(Stream& stream, const Tensor& dx, const Tensor& positions, const Tensor& table);

}  // namespace nemo::kernels
