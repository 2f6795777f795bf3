#include "kernels/layernorm.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(layernorm_forward)
NEMO_TWINS(add_layernorm_forward)
NEMO_TWINS(layernorm_backward)

void layernorm_forward(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias,
                       float eps, const Tensor& y, const Tensor& mean, const Tensor& rstd) {
  constexpr const char* kOp = "layernorm_forward";
  const Shape shape = {x.size(0), x.size(1)};
  expect(kOp, "x", x, DType::kF32, shape);
  expect(kOp, "weight", weight, DType::kF32, {shape[1]});
  expect(kOp, "bias", bias, DType::kF32, {shape[1]});
  expect(kOp, "y", y, DType::kF32, shape);
  expect(kOp, "mean", mean, DType::kF32, {shape[0]});
  expect(kOp, "rstd", rstd, DType::kF32, {shape[0]});
  NEMO_DISPATCH(stream, layernorm_forward, x, weight, bias, eps, y, mean, rstd);
}

void add_layernorm_forward(Stream& stream, const Tensor& x, const Tensor& delta,
                           const Tensor& weight, const Tensor& bias, float eps, const Tensor& sum,
                           const Tensor& y, const Tensor& mean, const Tensor& rstd) {
  constexpr const char* kOp = "add_layernorm_forward";
  const Shape shape = {x.size(0), x.size(1)};
  expect(kOp, "x", x, DType::kF32, shape);
  expect(kOp, "delta", delta, DType::kF32, shape);
  expect(kOp, "weight", weight, DType::kF32, {shape[1]});
  expect(kOp, "bias", bias, DType::kF32, {shape[1]});
  expect(kOp, "sum", sum, DType::kF32, shape);
  expect(kOp, "y", y, DType::kF32, shape);
  expect(kOp, "mean", mean, DType::kF32, {shape[0]});
  expect(kOp, "rstd", rstd, DType::kF32, {shape[0]});
  NEMO_DISPATCH(stream, add_layernorm_forward, x, delta, weight, bias, eps, sum, y, mean, rstd);
}

void layernorm_backward(Stream& stream, const LayerNormBackward& args) {
  constexpr const char* kOp = "layernorm_backward";
  const Shape shape = {args.x.size(0), args.x.size(1)};
  expect(kOp, "x", args.x, DType::kF32, shape);
  expect(kOp, "dy", args.dy, DType::kF32, shape);
  expect(kOp, "weight", args.weight, DType::kF32, {shape[1]});
  expect(kOp, "mean", args.mean, DType::kF32, {shape[0]});
  expect(kOp, "rstd", args.rstd, DType::kF32, {shape[0]});
  if (args.dresidual) expect(kOp, "dresidual", args.dresidual, DType::kF32, shape);
  expect(kOp, "dx", args.dx, DType::kF32, shape);
  expect(kOp, "dweight", args.dweight, DType::kF32, {shape[1]});
  expect(kOp, "dbias", args.dbias, DType::kF32, {shape[1]});
  NEMO_DISPATCH_WITH_WORKSPACE(stream, layernorm_backward, args);
}

}  // namespace nemo::kernels
