#include "kernels/rows.h"

#include <limits>

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(gather_rows)
NEMO_TWINS(sum_rows)

namespace {

void expect_moved(const Stream& stream, const char* op, const Tensor& x, const Tensor& index,
                  const Tensor& out) {
  const int64_t h = x.size(1);
  const DType dtype = expect_storage(op, "x", x);
  expect(op, "x", x, dtype, {x.size(0), h});
  expect(op, "out", out, dtype, {index.size(0), h});
  constexpr int32_t kAnyNegative = std::numeric_limits<int32_t>::lowest();
  if (!stream.recording()) expect_indices(op, "index", index, x.size(0), kAnyNegative);
}

}  // namespace

void gather_rows(Stream& stream, const Tensor& x, const Tensor& index, const Tensor& out) {
  expect("gather_rows", "index", index, DType::kI32, {index.size(0)});
  expect_moved(stream, "gather_rows", x, index, out);
  NEMO_DISPATCH(stream, gather_rows, x, index, out);
}

void sum_rows(Stream& stream, const Tensor& x, const Tensor& index, const Tensor& out) {
  expect("sum_rows", "index", index, DType::kI32, {index.size(0), index.size(1)});
  expect_moved(stream, "sum_rows", x, index, out);
  NEMO_DISPATCH(stream, sum_rows, x, index, out);
}

}  // namespace nemo::kernels
