#include "kernels/elementwise.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(add)
NEMO_TWINS(fill)
NEMO_TWINS(convert)
NEMO_TWINS(sum_squares)

namespace {

// fp32, bf16, fp16 or fp64.
void expect_real(const char* op, const char* name, const Tensor& tensor) {
  if (tensor.dtype() != DType::kF64) expect_storage(op, name, tensor);
}

}  // namespace

void add(Stream& stream, const Tensor& a, const Tensor& b, const Tensor& out) {
  expect_real("add", "a", a);
  expect("add", "a", a, a.dtype(), a.shape());
  expect("add", "b", b, a.dtype(), a.shape());
  expect("add", "out", out, a.dtype(), a.shape());
  NEMO_DISPATCH(stream, add, a, b, out);
}

void fill(Stream& stream, const Tensor& x, float value) {
  expect_real("fill", "x", x);
  expect("fill", "x", x, x.dtype(), x.shape());
  NEMO_DISPATCH(stream, fill, x, value);
}

void convert(Stream& stream, const Tensor& from, const Tensor& to) {
  if (from.dtype() != to.dtype()) {
    expect_storage("convert", "from", from);
    expect_storage("convert", "to", to);
  }
  expect("convert", "from", from, from.dtype(), from.shape());
  expect("convert", "to", to, to.dtype(), from.shape());
  NEMO_DISPATCH(stream, convert, from, to);
}

void sum_squares(Stream& stream, const Tensor& x, const Tensor& sum) {
  expect("sum_squares", "x", x, DType::kF32, x.shape());
  expect("sum_squares", "sum", sum, DType::kF64, {1});
  NEMO_DISPATCH_WITH_WORKSPACE(stream, sum_squares, x, sum);
}

}  // namespace nemo::kernels
