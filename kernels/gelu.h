// GELU (Hendrycks & Gimpel 2016): exact, x/2 (1 + erf(x / sqrt 2)), and the tanh approximation,
// x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). x, y, dx, dy: any one shape and dtype of
// fp32, bf16 and fp16, contiguous.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

enum class Gelu { kExact, kTanh };

// y = .
void gelu_forward(Stream& stream, const Tensor& x, Gelu kind, const Tensor& y);

// dx = dy * gelu'(x); may alias dy.
void gelu_backward(Stream& stream, const Tensor& dy, const Tensor& x, Gelu kind, const Tensor& dx);

}  // namespace nemo::kernels
