#include "kernels/strided.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(strided_copy)
NEMO_TWINS(strided_add)

void strided_copy(Stream& stream, const Tensor& from, const Tensor& to) {
  constexpr const char* kOp = "strided_copy";
  expect_dense_rows(kOp, "from", from, expect_storage(kOp, "from", from), from.shape());
  expect_dense_rows(kOp, "to", to, expect_storage(kOp, "to", to), from.shape());
  NEMO_DISPATCH(stream, strided_copy, from, to);
}

void strided_add(Stream& stream, const Tensor& from, const Tensor& to) {
  constexpr const char* kOp = "strided_add";
  expect_dense_rows(kOp, "from", from, expect_storage(kOp, "from", from), from.shape());
  expect_dense_rows(kOp, "to", to, expect_storage(kOp, "to", to), from.shape());
  NEMO_DISPATCH(stream, strided_add, from, to);
}

}  // namespace nemo::kernels
