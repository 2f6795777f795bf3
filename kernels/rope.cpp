#include "kernels/rope.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(rope_forward)
NEMO_TWINS(rope_backward)

namespace {

void check(const char* op, const Stream& stream, const Tensor& x, const Tensor& positions,
           const Tensor& table) {
  const Shape shape = {x.size(0), x.size(1), x.size(2), x.size(3)};
  expect_shape(op, "x", x, shape);
  expect_storage(op, "x", x);
  NEMO_CHECK(x.stride(3) == 1 && shape[3] % 2 == 0,
             "[{}] x has head size {} with stride {}, expected an even size and stride 1", op,
             shape[3], x.stride(3));
  expect(op, "positions", positions, DType::kI32, {shape[1]});
  const int64_t num_positions = table.size(0);
  expect(op, "table", table, expect_storage(op, "table", table), {num_positions, shape[3]});
  if (!stream.recording()) expect_indices(op, "positions", positions, num_positions);
}

}  // namespace

void rope_forward(Stream& stream, const Tensor& x, const Tensor& positions, const Tensor& table) {
  check("rope_forward", stream, x, positions, table);
  NEMO_DISPATCH(stream, rope_forward, x, positions, table);
}

void rope_backward(Stream& stream, const Tensor& dx, const Tensor& positions, const Tensor& table) {
  check("rope_backward", stream, dx, positions, table);
  NEMO_DISPATCH(stream, rope_backward, dx, positions, table);
}

}  // namespace nemo::kernels
