#include "kernels/layernorm.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"
#include "kernels/widen.h"

namespace nemo::kernels {

NEMO_TWINS(layernorm_forward)
NEMO_TWINS(add_layernorm_forward)
NEMO_TWINS(layernorm_backward)

void layernorm_forward(Stream& stream, const Tensor& x, const Tensor& weight, const Tensor& bias,
                       float eps, const Tensor& y, const Tensor& mean, const Tensor& rstd) {
  constexpr const char* kOp = "layernorm_forward";
  const DType dtype = expect_storage(kOp, "x", x);
  const Shape shape = {x.size(0), x.size(1)};
  expect(kOp, "x", x, dtype, shape);
  expect(kOp, "weight", weight, expect_storage(kOp, "weight", weight), {shape[1]});
  expect(kOp, "bias", bias, expect_storage(kOp, "bias", bias), {shape[1]});
  expect(kOp, "y", y, dtype, shape);
  expect(kOp, "mean", mean, DType::kF32, {shape[0]});
  expect(kOp, "rstd", rstd, DType::kF32, {shape[0]});
  const Tensor wide_weight = widened(stream, weight), wide_bias = widened(stream, bias);
  NEMO_DISPATCH(stream, layernorm_forward, x, wide_weight, wide_bias, eps, y, mean, rstd);
}

void add_layernorm_forward(Stream& stream, const Tensor& x, const Tensor& delta,
                           const Tensor& weight, const Tensor& bias, float eps, const Tensor& sum,
                           const Tensor& y, const Tensor& mean, const Tensor& rstd) {
  constexpr const char* kOp = "add_layernorm_forward";
  const DType dtype = expect_storage(kOp, "x", x);
  const Shape shape = {x.size(0), x.size(1)};
  expect(kOp, "x", x, dtype, shape);
  expect(kOp, "delta", delta, dtype, shape);
  expect(kOp, "weight", weight, expect_storage(kOp, "weight", weight), {shape[1]});
  expect(kOp, "bias", bias, expect_storage(kOp, "bias", bias), {shape[1]});
  expect(kOp, "sum", sum, dtype, shape);
  expect(kOp, "y", y, dtype, shape);
  expect(kOp, "mean", mean, DType::kF32, {shape[0]});
  expect(kOp, "rstd", rstd, DType::kF32, {shape[0]});
  const Tensor wide_weight = widened(stream, weight), wide_bias = widened(stream, bias);
  NEMO_DISPATCH(stream, add_layernorm_forward, x, delta, wide_weight, wide_bias, eps, sum, y, mean,
                rstd);
}

void layernorm_backward(Stream& stream, const LayerNormBackward& args) {
  constexpr const char* kOp = "layernorm_backward";
  const DType dtype = expect_storage(kOp, "x", args.x);
  const Shape shape = {args.x.size(0), args.x.size(1)};
  expect(kOp, "x", args.x, dtype, shape);
  expect(kOp, "dy", args.dy, dtype, shape);
  expect(kOp, "weight", args.weight, expect_storage(kOp, "weight", args.weight), {shape[1]});
  expect(kOp, "mean", args.mean, DType::kF32, {shape[0]});
  expect(kOp, "rstd", args.rstd, DType::kF32, {shape[0]});
  if (args.dresidual) expect(kOp, "dresidual", args.dresidual, dtype, shape);
  expect(kOp, "dx", args.dx, dtype, shape);
  expect(kOp, "dweight", args.dweight, DType::kF32, {shape[1]});
  expect(kOp, "dbias", args.dbias, DType::kF32, {shape[1]});
  LayerNormBackward wide = args;
  wide.weight = widened(stream, args.weight);
  NEMO_DISPATCH_WITH_WORKSPACE(stream, layernorm_backward, wide);
}

}  // namespace nemo::kernels
