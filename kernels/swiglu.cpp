#include "kernels/swiglu.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(swiglu_forward)
NEMO_TWINS(swiglu_backward)

void swiglu_forward(Stream& stream, const Tensor& gate_up, const Tensor& y) {
  const Shape shape = {y.size(0), y.size(1)};
  expect("swiglu_forward", "y", y, DType::kF32, shape);
  expect("swiglu_forward", "gate_up", gate_up, DType::kF32, {shape[0], 2 * shape[1]});
  NEMO_DISPATCH(stream, swiglu_forward, gate_up, y);
}

void swiglu_backward(Stream& stream, const Tensor& dy, const Tensor& gate_up,
                     const Tensor& dgate_up) {
  const Shape shape = {dy.size(0), dy.size(1)};
  expect("swiglu_backward", "dy", dy, DType::kF32, shape);
  expect("swiglu_backward", "gate_up", gate_up, DType::kF32, {shape[0], 2 * shape[1]});
  expect("swiglu_backward", "dgate_up", dgate_up, DType::kF32, {shape[0], 2 * shape[1]});
  NEMO_DISPATCH(stream, swiglu_backward, dy, gate_up, dgate_up);
}

}  // namespace nemo::kernels
