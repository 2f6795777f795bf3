#include "kernels/rmsnorm.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"
#include "kernels/widen.h"

namespace nemo::kernels {

NEMO_TWINS(rmsnorm_forward)
NEMO_TWINS(add_rmsnorm_forward)
NEMO_TWINS(rmsnorm_backward)

void rmsnorm_forward(Stream& stream, const Tensor& x, const Tensor& weight, float eps,
                     const Tensor& y, const Tensor& rstd) {
  constexpr const char* kOp = "rmsnorm_forward";
  const DType dtype = expect_storage(kOp, "x", x);
  const Shape shape = {x.size(0), x.size(1)};
  expect(kOp, "x", x, dtype, shape);
  expect(kOp, "weight", weight, expect_storage(kOp, "weight", weight), {shape[1]});
  expect(kOp, "y", y, dtype, shape);
  expect(kOp, "rstd", rstd, DType::kF32, {shape[0]});
  const Tensor wide_weight = widened(stream, weight);
  NEMO_DISPATCH(stream, rmsnorm_forward, x, wide_weight, eps, y, rstd);
}

void add_rmsnorm_forward(Stream& stream, const Tensor& x, const Tensor& delta, const Tensor& weight,
                         float eps, const Tensor& sum, const Tensor& y, const Tensor& rstd) {
  constexpr const char* kOp = "add_rmsnorm_forward";
  const DType dtype = expect_storage(kOp, "x", x);
  const Shape shape = {x.size(0), x.size(1)};
  expect(kOp, "x", x, dtype, shape);
  expect(kOp, "delta", delta, dtype, shape);
  expect(kOp, "weight", weight, expect_storage(kOp, "weight", weight), {shape[1]});
  expect(kOp, "sum", sum, dtype, shape);
  expect(kOp, "y", y, dtype, shape);
  expect(kOp, "rstd", rstd, DType::kF32, {shape[0]});
  const Tensor wide_weight = widened(stream, weight);
  NEMO_DISPATCH(stream, add_rmsnorm_forward, x, delta, wide_weight, eps, sum, y, rstd);
}

void rmsnorm_backward(Stream& stream, const Tensor& dy, const Tensor& x, const Tensor& weight,
                      const Tensor& rstd, const Tensor& dresidual, const Tensor& dx,
                      const Tensor& dweight, bool accumulate) {
  constexpr const char* kOp = "rmsnorm_backward";
  const DType dtype = expect_storage(kOp, "x", x);
  const Shape shape = {x.size(0), x.size(1)};
  expect(kOp, "x", x, dtype, shape);
  expect(kOp, "dy", dy, dtype, shape);
  expect(kOp, "weight", weight, expect_storage(kOp, "weight", weight), {shape[1]});
  expect(kOp, "rstd", rstd, DType::kF32, {shape[0]});
  if (dresidual) expect(kOp, "dresidual", dresidual, dtype, shape);
  expect(kOp, "dx", dx, dtype, shape);
  expect(kOp, "dweight", dweight, DType::kF32, {shape[1]});
  const Tensor wide_weight = widened(stream, weight);
  NEMO_DISPATCH_WITH_WORKSPACE(stream, rmsnorm_backward, dy, x, wide_weight, rstd, dresidual, dx,
                               dweight, accumulate);
}

}  // namespace nemo::kernels
