#include "kernels/strided.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(strided_copy)
NEMO_TWINS(strided_add)

void strided_copy(Stream& stream, const Tensor& from, const Tensor& to) {
  expect_dense_rows("strided_copy", "from", from, DType::kF32, from.shape());
  expect_dense_rows("strided_copy", "to", to, DType::kF32, from.shape());
  NEMO_DISPATCH(stream, strided_copy, from, to);
}

void strided_add(Stream& stream, const Tensor& from, const Tensor& to) {
  expect_dense_rows("strided_add", "from", from, DType::kF32, from.shape());
  expect_dense_rows("strided_add", "to", to, DType::kF32, from.shape());
  NEMO_DISPATCH(stream, strided_add, from, to);
}

}  // namespace nemo::kernels
