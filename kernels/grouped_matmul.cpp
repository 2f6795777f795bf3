#include "kernels/grouped_matmul.h"

#include <algorithm>

#include "kernels/contract.h"
#include "kernels/dispatch.h"

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
  expect(op, "the [N, in] tensor", rows_in, DType::kF32, {num_rows, in});
  expect(op, "the [N, out] tensor", rows_out, DType::kF32, {num_rows, out});
  expect(op, "the weight", weights, DType::kF32, {num_experts * out, in});
}

}  // namespace

void grouped_matmul_forward(Stream& stream, const Tensor& x, const Tensor& w,
                            std::span<const int64_t> offsets, const Tensor& y) {
  expect_grouped("grouped_matmul_forward", x, y, w, offsets);
  NEMO_DISPATCH_WITH_WORKSPACE(stream, grouped_matmul_forward, x, w, offsets, y);
}

void grouped_matmul_backward_input(Stream& stream, const Tensor& dy, const Tensor& w,
                                   std::span<const int64_t> offsets, const Tensor& dx) {
  expect_grouped("grouped_matmul_backward_input", dx, dy, w, offsets);
  NEMO_DISPATCH_WITH_WORKSPACE(stream, grouped_matmul_backward_input, dy, w, offsets, dx);
}

void grouped_matmul_backward_weight(Stream& stream, const Tensor& dy, const Tensor& x,
                                    std::span<const int64_t> offsets, const Tensor& dw,
                                    bool accumulate) {
  expect_grouped("grouped_matmul_backward_weight", x, dy, dw, offsets);
  NEMO_DISPATCH_WITH_WORKSPACE(stream, grouped_matmul_backward_weight, dy, x, offsets, dw,
                               accumulate);
}

}  // namespace nemo::kernels
