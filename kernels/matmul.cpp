#include "kernels/matmul.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(matmul_forward)
NEMO_TWINS(matmul_backward_input)
NEMO_TWINS(matmul_backward_weight)
NEMO_TWINS(bias_backward)

namespace {

// Of this shape, its columns dense.
void expect_matrix(const char* op, const char* name, const Tensor& tensor, const Shape& shape) {
  expect_shape(op, name, tensor, shape);
  expect_dtype(op, name, tensor, DType::kF32);
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
  if (bias) expect(kOp, "bias", bias, DType::kF32, {n});
  NEMO_DISPATCH_WITH_WORKSPACE(stream, matmul_forward, x, w, bias, y);
}

void matmul_backward_input(Stream& stream, const Tensor& dy, const Tensor& w, const Tensor& dx) {
  constexpr const char* kOp = "matmul_backward_input";
  const int64_t m = dy.size(0), n = dy.size(1), k = w.size(1);
  expect_matrix(kOp, "dy", dy, {m, n});
  expect_matrix(kOp, "w", w, {n, k});
  expect_matrix(kOp, "dx", dx, {m, k});
  NEMO_DISPATCH_WITH_WORKSPACE(stream, matmul_backward_input, dy, w, dx);
}

void matmul_backward_weight(Stream& stream, const Tensor& dy, const Tensor& x, const Tensor& dw,
                            bool accumulate) {
  constexpr const char* kOp = "matmul_backward_weight";
  const int64_t m = dy.size(0), n = dy.size(1), k = x.size(1);
  expect_matrix(kOp, "dy", dy, {m, n});
  expect_matrix(kOp, "x", x, {m, k});
  expect_matrix(kOp, "dw", dw, {n, k});
  NEMO_DISPATCH_WITH_WORKSPACE(stream, matmul_backward_weight, dy, x, dw, accumulate);
}

void bias_backward(Stream& stream, const Tensor& dy, const Tensor& dbias, bool accumulate) {
  constexpr const char* kOp = "bias_backward";
  const int64_t m = dy.size(0), n = dy.size(1);
  expect_matrix(kOp, "dy", dy, {m, n});
  expect(kOp, "dbias", dbias, DType::kF32, {n});
  NEMO_DISPATCH_WITH_WORKSPACE(stream, bias_backward, dy, dbias, accumulate);
}

}  // namespace nemo::kernels
