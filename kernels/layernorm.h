// LayerNorm (Ba et al. 2016), alone and fused with the residual addition before it.
//   n[t,j] = (x[t,j] - mean[t]) * rstd[t]      y[t,j] = n[t,j] * weight[j] + bias[j]
//   rstd[t] = 1 / sqrt(var_j x[t,j] + eps), var the biased variance
// x, y, dx, …: [T, h]; weight, bias: [h]; mean, rstd: [T] fp32. Statistics in fp32.
// The tensors of [T, h] have one dtype, weight and bias any: fp32, bf16 or fp16.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

// y = , mean = , rstd = .
void layernorm_forward(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias,
                       float eps, const Tensor& y, const Tensor& mean, const Tensor& rstd);

// sum = x + delta, then y, mean and rstd of sum, in the bits of layernorm_forward of it: recompute
// counts on that. sum may alias x or delta.
void add_layernorm_forward(Stream& stream, const Tensor& x, const Tensor& delta,
                           const Tensor& weight, const Tensor& bias, float eps, const Tensor& sum,
                           const Tensor& y, const Tensor& mean, const Tensor& rstd);

struct LayerNormBackward {
  Tensor dy, x, weight, mean, rstd;
  Tensor dresidual;       // the gradient that reaches x past the norm; empty means none
  Tensor dx;              // may alias dy or dresidual
  Tensor dweight, dbias;  // fp32
  bool accumulate_dweight, accumulate_dbias;
};

// With g = dy * weight:
//   dx = dresidual + rstd * (g - mean_j(g) - n * mean_j(g * n))
//   dweight (+)= sum_t dy * n      dbias (+)= sum_t dy      (+= when accumulate, = otherwise)
// The sums over t have a fixed order.
void layernorm_backward(Stream& stream, const LayerNormBackward& args);

}  // namespace nemo::kernels
