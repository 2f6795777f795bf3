#include "kernels/swiglu.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(swiglu_forward)
NEMO_TWINS(swiglu_backward)

void swiglu_forward(Stream& stream, const Tensor& gate_up, const Tensor& scale, const Tensor& y) {
  constexpr const char* kOp = "swiglu_forward";
  const DType dtype = expect_storage(kOp, "y", y);
  const Shape shape = {y.size(0), y.size(1)};
  expect(kOp, "y", y, dtype, shape);
  expect(kOp, "gate_up", gate_up, dtype, {shape[0], 2 * shape[1]});
  if (scale) expect(kOp, "scale", scale, DType::kF32, {shape[0]});
  NEMO_DISPATCH(stream, swiglu_forward, gate_up, scale, y);
}

void swiglu_backward(Stream& stream, const Tensor& dy, const Tensor& gate_up, const Tensor& scale,
                     const Tensor& dgate_up, const Tensor& dscale) {
  constexpr const char* kOp = "swiglu_backward";
  const DType dtype = expect_storage(kOp, "dy", dy);
  const Shape shape = {dy.size(0), dy.size(1)};
  expect(kOp, "dy", dy, dtype, shape);
  expect(kOp, "gate_up", gate_up, dtype, {shape[0], 2 * shape[1]});
  expect(kOp, "dgate_up", dgate_up, dtype, {shape[0], 2 * shape[1]});
  NEMO_CHECK(static_cast<bool>(scale) == static_cast<bool>(dscale),
             "[{}] of scale and dscale there is one without the other", kOp);
  if (scale) {
    expect(kOp, "scale", scale, DType::kF32, {shape[0]});
    expect(kOp, "dscale", dscale, DType::kF32, {shape[0]});
  }
  NEMO_DISPATCH(stream, swiglu_backward, dy, gate_up, scale, dgate_up, dscale);
}

}  // namespace nemo::kernels
