// SwiGLU (Shazeer 2020) on a merged projection, each row times a number where there is a scale
// (what an expert's output counts for its token).
//   y[t,j] = scale[t] * silu(gate) * up,  gate = gate_up[t,j],  up = gate_up[t, f+j],
//   silu(z) = z / (1 + e^-z)
// gate_up, dgate_up: [T, 2f]; y, dy: [T, f]; scale, dscale: [T], fp32, empty where the scale
// is 1; the others of one dtype, fp32, bf16 or fp16.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

// y = .
void swiglu_forward(Stream& stream, const Tensor& gate_up, const Tensor& scale, const Tensor& y);

// dgate_up = ; may alias gate_up. dscale[t] = sum_j dy[t,j] silu(gate) up.
void swiglu_backward(Stream& stream, const Tensor& dy, const Tensor& gate_up, const Tensor& scale,
                     const Tensor& dgate_up, const Tensor& dscale);

}  // namespace nemo::kernels
