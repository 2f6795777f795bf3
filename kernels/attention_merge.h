// Attention over two sets of keys from attention over each (Dao 2022, "FlashAttention", section
// 3.1): what context parallelism puts its blocks together with.
//   lse <- log(e^lse + e^part_lse)
//   o   <- e^(lse - new lse) o + e^(part_lse - new lse) part_o
// o, part_o: [B, S, H, D] of one dtype, fp32, bf16 or fp16, any strides, D dense; lse, part_lse:
// [B, H, S] fp32, S dense, so that both may be a range of the rows of longer ones. A set without
// keys has lse -infinity.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

// In place in o and lse. The same bits for any number of threads.
void attention_merge(Stream& stream, const Tensor& part_o, const Tensor& part_lse, const Tensor& o,
                     const Tensor& lse);

}  // namespace nemo::kernels
