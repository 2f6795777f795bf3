// SwiGLU (Shazeer 2020) on a merged projection.
//   y[t,j] = silu(gate) * up,  gate = gate_up[t,j],  up = gate_up[t, f+j],  silu(z) = z / (1 +
//   e^-z)
// gate_up, dgate_up: [T, 2f]; y, dy: [T, f].
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

// y = .
void swiglu_forward(Stream& stream, const Tensor& gate_up, const Tensor& y);

// dgate_up = ; may alias gate_up.
void swiglu_backward(Stream& stream, const Tensor& dy, const Tensor& gate_up,
                     const Tensor& dgate_up);

}  // namespace nemo::kernels
