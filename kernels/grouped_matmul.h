// The three matrix products of the linear layers of E experts, y = x w^T, each over its own run of
// rows. x, dx: [N, in]; y, dy: [N, out]; w, dw: [E*out, in], expert e's being rows [e*out,
// (e+1)*out). Rows [offsets[e], offsets[e+1]) of x and y are expert e's: E + 1 offsets, ascending,
// from 0 to N at most. Rows outside all runs are neither read nor written. A run may be empty, and
// runs may differ at every call. What an expert computes depends on its own run alone, not on the
// other experts nor on the number of threads. Each of x, w, y, dy and dx is stored as fp32, bf16 or
// fp16; sums are in fp32, for which what has 16 bits is widened in workspace.
#pragma once

#include <span>

#include "lib/device/stream.h"

namespace nemo::kernels {

// y = x w^T.
void grouped_matmul_forward(Stream& stream, const Tensor& x, const Tensor& w,
                            std::span<const int64_t> offsets, const Tensor& y);

// dx = dy w.
void grouped_matmul_backward_input(Stream& stream, const Tensor& dy, const Tensor& w,
                                   std::span<const int64_t> offsets, const Tensor& dx);

// dw (+)= dy^T x, += when accumulate, = otherwise: zeros for an expert without rows. dw is fp32.
void grouped_matmul_backward_weight(Stream& stream, const Tensor& dy, const Tensor& x,
                                    std::span<const int64_t> offsets, const Tensor& dw,
                                    bool accumulate);

}  // namespace nemo::kernels
