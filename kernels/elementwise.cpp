#include "kernels/elementwise.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(add)
NEMO_TWINS(fill)
NEMO_TWINS(convert)
NEMO_TWINS(sum_squares)

void add(Stream& stream, const Tensor& a, const Tensor& b, const Tensor& out) {
  NEMO_CHECK(a.dtype() == DType::kF32 || a.dtype() == DType::kF64,
             "[add] a is {}, expected fp32 or fp64", to_string(a.dtype()));
  expect("add", "a", a, a.dtype(), a.shape());
  expect("add", "b", b, a.dtype(), a.shape());
  expect("add", "out", out, a.dtype(), a.shape());
  NEMO_DISPATCH(stream, add, a, b, out);
}

void fill(Stream& stream, const Tensor& x, float value) {
  NEMO_CHECK(x.dtype() == DType::kF32 || x.dtype() == DType::kF64,
             "[fill] x is {}, expected fp32 or fp64", to_string(x.dtype()));
  expect("fill", "x", x, x.dtype(), x.shape());
  NEMO_DISPATCH(stream, fill, x, value);
}

void convert(Stream& stream, const Tensor& from, const Tensor& to) {
  const auto is_float = [](DType dtype) { return dtype == DType::kF32 || dtype == DType::kBF16; };
  NEMO_CHECK(from.dtype() == to.dtype() || (is_float(from.dtype()) && is_float(to.dtype())),
             "[convert] {} to {}, expected one dtype or fp32 and bf16", to_string(from.dtype()),
             to_string(to.dtype()));
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
