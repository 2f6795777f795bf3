// RMSNorm (Zhang & Sennrich 2019), alone and fused with the residual addition before it.
//   rstd[t] = 1 / sqrt(mean_j x[t,j]^2 + eps)      y[t,j] = x[t,j] * rstd[t] * weight[j]
// x, y, dx, …: [T, h]; weight, dweight: [h]; rstd: [T] fp32. Statistics in fp32.
// The tensors of [T, h] have one dtype, weight one of its own: fp32, bf16 or fp16.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

// y = , rstd = .
void rmsnorm_forward(Stream& stream, const Tensor& x, const Tensor& weight, float eps,
                     const Tensor& y, const Tensor& rstd);

// sum = x + delta, then y and rstd of sum, in the bits of rmsnorm_forward of it: recompute counts
// on that. sum may alias x or delta.
void add_rmsnorm_forward(Stream& stream, const Tensor& x, const Tensor& delta, const Tensor& weight,
                         float eps, const Tensor& sum, const Tensor& y, const Tensor& rstd);

// With n = x * rstd and g = dy * weight:
//   dx = dresidual + rstd * (g - n * mean_j(g * n))
//   dweight (+)= sum_t dy * n       (+= when accumulate, = otherwise)
// dresidual is the gradient that reaches x past the norm; an empty tensor means none.
// dx may alias dy or dresidual. dweight is fp32; the sum over t has a fixed order.
void rmsnorm_backward(Stream& stream, const Tensor& dy, const Tensor& x, const Tensor& weight,
                      const Tensor& rstd, const Tensor& dresidual, const Tensor& dx,
                      const Tensor& dweight, bool accumulate);

}  // namespace nemo::kernels
