#include "kernels/matmul.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"
#include "kernels/widen.h"

namespace nemo::kernels {

NEMO_TWINS(matmul_forward)
NEMO_TWINS(matmul_backward_input)
NEMO_TWINS(matmul_backward_weight)
NEMO_TWINS(bias_backward)

namespace {

// Of this shape, its columns dense, stored as any of the three.
void expect_matrix(const char* op, const char* name, const Tensor& tensor, const Shape& shape) {
  expect_shape(op, name, tensor, shape);
  expect_storage(op, name, tensor);
  NEMO_CHECK(tensor.stride(1) == 1 && tensor.stride(0) >= shape[1],
             "[{}] {} of shape {} has strides {} and {}, expected dense columns", op, name,
             shape.to_string(), tensor.stride(0), tensor.stride(1));
}

}  // namespace

void matmul_forward(Stream& stream, const Tensor& x, const Tensor& w, const Tensor& bias,
                    const Tensor& y) {
  constexpr const char* kOp = "matmul_forward";
  const int64_t m = x.size(0), n = w.size(0), k = x.size(1);
  expect_matrix(kOp, "x", x, {m, k});
  expect_matrix(kOp, "w", w, {n, k});
  expect_matrix(kOp, "y", y, {m, n});
  if (bias) expect(kOp, "bias", bias, expect_storage(kOp, "bias", bias), {n});
  const Tensor wide_x = widened(stream, x), wide_bias = widened(stream, bias);
  const Tensor wide_y = wide_result(stream, y);
  NEMO_DISPATCH_WITH_WORKSPACE(stream, matmul_forward, wide_x, w, wide_bias, wide_y);
  narrow(stream, wide_y, y);
}

void matmul_backward_input(Stream& stream, const Tensor& dy, const Tensor& w, const Tensor& dx) {
  constexpr const char* kOp = "matmul_backward_input";
  const int64_t m = dy.size(0), n = dy.size(1), k = w.size(1);
  expect_matrix(kOp, "dy", dy, {m, n});
  expect_matrix(kOp, "w", w, {n, k});
  expect_matrix(kOp, "dx", dx, {m, k});
  const Tensor wide_dy = widened(stream, dy);
  const Tensor wide_dx = wide_result(stream, dx);
  NEMO_DISPATCH_WITH_WORKSPACE(stream, matmul_backward_input, wide_dy, w, wide_dx);
  narrow(stream, wide_dx, dx);
}

void matmul_backward_weight(Stream& stream, const Tensor& dy, const Tensor& x, const Tensor& dw,
                            bool accumulate) {
  constexpr const char* kOp = "matmul_backward_weight";
  const int64_t m = dy.size(0), n = dy.size(1), k = x.size(1);
  expect_matrix(kOp, "dy", dy, {m, n});
  expect_matrix(kOp, "x", x, {m, k});
  expect_matrix(kOp, "dw", dw, {n, k});
  expect_dtype(kOp, "dw", dw, DType::kF32);
  const Tensor left = dy.dtype() == x.dtype() ? dy : widened(stream, dy);
  NEMO_DISPATCH_WITH_WORKSPACE(stream, matmul_backward_weight, left, x, dw, accumulate);
}

void bias_backward(Stream& stream, const Tensor& dy, const Tensor& dbias, bool accumulate) {
  constexpr const char* kOp = "bias_backward";
  const int64_t m = dy.size(0), n = dy.size(1);
  expect_matrix(kOp, "dy", dy, {m, n});
  expect(kOp, "dbias", dbias, DType::kF32, {n});
  NEMO_DISPATCH_WITH_WORKSPACE(stream, bias_backward, dy, dbias, accumulate);
}

}  // namespace nemo::kernels
