#include "kernels/normal.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(fill_normal)

void fill_normal(Stream& stream, const NormalSlice& slice, const Tensor& out) {
  expect_shape("fill_normal", "out", out, {out.size(0), out.size(1)});
  expect_dtype("fill_normal", "out", out, DType::kF32);
  NEMO_CHECK(out.stride(1) == 1, "[fill_normal] out has column stride {}, expected 1",
             out.stride(1));
  NEMO_CHECK(slice.first_row >= 0 && slice.first_col >= 0 &&
                 slice.first_col + out.size(1) <= slice.row_length,
             "[fill_normal] columns {} + {} of rows of {}", slice.first_col, out.size(1),
             slice.row_length);
  NEMO_DISPATCH(stream, fill_normal, slice, out);
}

}  // namespace nemo::kernels
