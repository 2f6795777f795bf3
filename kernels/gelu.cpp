#include "kernels/gelu.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(gelu_forward)
NEMO_TWINS(gelu_backward)

void gelu_forward(Stream& stream, const Tensor& x, Gelu kind, const Tensor& y) {
  const DType dtype = expect_storage("gelu_forward", "x", x);
  expect("gelu_forward", "x", x, dtype, x.shape());
  expect("gelu_forward", "y", y, dtype, x.shape());
  NEMO_DISPATCH(stream, gelu_forward, x, kind, y);
}

void gelu_backward(Stream& stream, const Tensor& dy, const Tensor& x, Gelu kind, const Tensor& dx) {
  const DType dtype = expect_storage("gelu_backward", "x", x);
  expect("gelu_backward", "x", x, dtype, x.shape());
  expect("gelu_backward", "dy", dy, dtype, x.shape());
  expect("gelu_backward", "dx", dx, dtype, x.shape());
  NEMO_DISPATCH(stream, gelu_backward, dy, x, kind, dx);
}

}  // namespace nemo::kernels
