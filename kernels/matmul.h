// The three matrix products of a linear layer y = x w^T + bias.
// x: [M, K], w: [N, K], y: [M, N]; bias: [N]. Rows may be strided (a column range of a wider
// matrix); the columns are dense. M, N and K may be 0. An element's bits follow from the row and
// the column that it sums over, so they are the same for any number of threads and of other rows
// and columns.
// Each of x, w, bias, y, dy and dx is stored as fp32, bf16 or fp16. Products and sums are in fp32,
// for which x of forward, dy of backward_input and results in 16 bits are widened in workspace, the
// others as they are packed.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

// y = x w^T + bias; an empty bias means none.
void matmul_forward(Stream& stream, const Tensor& x, const Tensor& w, const Tensor& bias,
                    const Tensor& y);

// dx = dy w.
void matmul_backward_input(Stream& stream, const Tensor& dy, const Tensor& w, const Tensor& dx);

// dw (+)= dy^T x, += when accumulate, = otherwise. dw is fp32.
void matmul_backward_weight(Stream& stream, const Tensor& dy, const Tensor& x, const Tensor& dw,
                            bool accumulate);

// dbias[n] (+)= sum_m dy[m, n], += when accumulate, = otherwise. dbias is fp32; fixed order.
void bias_backward(Stream& stream, const Tensor& dy, const Tensor& dbias, bool accumulate);

}  // namespace nemo::kernels
