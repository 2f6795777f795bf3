#include "kernels/grouped_matmul.h"

#include <algorithm>

#include "kernels/contract.h"
#include "kernels/dispatch.h"
#include "kernels/widen.h"

namespace nemo::kernels {

NEMO_TWINS(grouped_matmul_forward)
NEMO_TWINS(grouped_matmul_backward_input)
NEMO_TWINS(grouped_matmul_backward_weight)

namespace {

// rows_in: [N, in], rows_out: [N, out], weights: [E*out, in].
void expect_grouped(const char* op, const Tensor& rows_in, const Tensor& rows_out,
                    const Tensor& weights, std::span<const int64_t> offsets) {
  const int64_t num_rows = rows_in.size(0), in = rows_in.size(1), out = rows_out.size(1);
  NEMO_CHECK(offsets.size() >= 2 && offsets.front() >= 0 && offsets.back() <= num_rows &&
                 std::ranges::is_sorted(offsets),
             "[{}] offsets {} do not ascend from 0 to {} at most", op,
             fmt::join(offsets.begin(), offsets.end(), ", "), num_rows);
  const int64_t num_experts = static_cast<int64_t>(offsets.size()) - 1;
  const auto expect_rows = [op](const char* name, const Tensor& tensor, const Shape& shape) {
    expect(op, name, tensor, expect_storage(op, name, tensor), shape);
  };
  expect_rows("the [N, in] tensor", rows_in, {num_rows, in});
  expect_rows("the [N, out] tensor", rows_out, {num_rows, out});
  expect_rows("the weight", weights, {num_experts * out, in});
}

// Rows outside all runs stay as they are.
void narrow_runs(Stream& stream, const Tensor& wide, std::span<const int64_t> offsets,
                 const Tensor& to) {
  narrow(stream, wide.slice(0, offsets.front(), offsets.back()),
         to.slice(0, offsets.front(), offsets.back()));
}

}  // namespace

void grouped_matmul_forward(Stream& stream, const Tensor& x, const Tensor& w,
                            std::span<const int64_t> offsets, const Tensor& y) {
  expect_grouped("grouped_matmul_forward", x, y, w, offsets);
  const Tensor wide_x = widened(stream, x), wide_w = widened(stream, w);
  const Tensor wide_y = wide_result(stream, y);
  NEMO_DISPATCH_WITH_WORKSPACE(stream, grouped_matmul_forward, wide_x, wide_w, offsets, wide_y);
  narrow_runs(stream, wide_y, offsets, y);
}

void grouped_matmul_backward_input(Stream& stream, const Tensor& dy, const Tensor& w,
                                   std::span<const int64_t> offsets, const Tensor& dx) {
  expect_grouped("grouped_matmul_backward_input", dx, dy, w, offsets);
  const Tensor wide_dy = widened(stream, dy), wide_w = widened(stream, w);
  const Tensor wide_dx = wide_result(stream, dx);
  NEMO_DISPATCH_WITH_WORKSPACE(stream, grouped_matmul_backward_input, wide_dy, wide_w, offsets,
                               wide_dx);
  narrow_runs(stream, wide_dx, offsets, dx);
}

void grouped_matmul_backward_weight(Stream& stream, const Tensor& dy, const Tensor& x,
                                    std::span<const int64_t> offsets, const Tensor& dw,
                                    bool accumulate) {
  expect_grouped("grouped_matmul_backward_weight", x, dy, dw, offsets);
  expect_dtype("grouped_matmul_backward_weight", "dw", dw, DType::kF32);
  const Tensor wide_dy = widened(stream, dy), wide_x = widened(stream, x);
  NEMO_DISPATCH_WITH_WORKSPACE(stream, grouped_matmul_backward_weight, wide_dy, wide_x, offsets, dw,
                               accumulate);
}

}  // namespace nemo::kernels
