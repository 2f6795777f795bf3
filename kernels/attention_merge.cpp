#include "kernels/attention_merge.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(attention_merge)

void attention_merge(Stream& stream, const Tensor& part_o, const Tensor& part_lse, const Tensor& o,
                     const Tensor& lse) {
  constexpr const char* kOp = "attention_merge";
  const Shape o_shape = {o.size(0), o.size(1), o.size(2), o.size(3)};
  expect_dense_rows(kOp, "o", o, expect_storage(kOp, "o", o), o_shape);
  expect_dense_rows(kOp, "part_o", part_o, o.dtype(), o_shape);
  const Shape lse_shape = {o.size(0), o.size(2), o.size(1)};
  expect_dense_rows(kOp, "lse", lse, DType::kF32, lse_shape);
  expect_dense_rows(kOp, "part_lse", part_lse, DType::kF32, lse_shape);
  NEMO_DISPATCH(stream, attention_merge, part_o, part_lse, o, lse);
}

}  // namespace nemo::kernels
