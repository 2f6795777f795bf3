#include "kernels/gelu.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(gelu_forward)
NEMO_TWINS(gelu_backward)

void gelu_forward(Stream& stream, const Tensor& x, Gelu kind, const Tensor& y) {
  expect("gelu_forward", "x", x, DType::kF32, x.shape());
  expect("gelu_forward", "y", y, DType::kF32, x.shape());
  NEMO_DISPATCH(stream, gelu_forward, x, kind, y);
}

void gelu_backward(Stream& stream, const Tensor& dy, const Tensor& x, Gelu kind, const Tensor& dx) {
  expect("gelu_backward", "x", x, DType::kF32, x.shape());
  expect("gelu_backward", "dy", dy, DType::kF32, x.shape());
  expect("gelu_backward", "dx", dx, DType::kF32, x.shape());
  NEMO_DISPATCH(stream, gelu_backward, dy, x, kind, dx);
}

}  // namespace nemo::kernels
