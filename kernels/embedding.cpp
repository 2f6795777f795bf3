#include "kernels/embedding.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(embedding_forward)
NEMO_TWINS(embedding_backward)

void embedding_forward(Stream& stream, const Tensor& ids, const Tensor& table, int64_t first_row,
                       const Tensor& y, bool accumulate) {
  constexpr const char* kOp = "embedding_forward";
  const int64_t num_tokens = ids.size(0), h = table.size(1);
  expect(kOp, "ids", ids, DType::kI32, {num_tokens});
  expect(kOp, "table", table, expect_storage(kOp, "table", table), {table.size(0), h});
  expect(kOp, "y", y, expect_storage(kOp, "y", y), {num_tokens, h});
  NEMO_DISPATCH(stream, embedding_forward, ids, table, first_row, y, accumulate);
}

void embedding_backward(Stream& stream, const Tensor& ids, const Tensor& dy, int64_t first_row,
                        const Tensor& dtable, bool accumulate) {
  constexpr const char* kOp = "embedding_backward";
  const int64_t num_tokens = ids.size(0), h = dtable.size(1);
  expect(kOp, "ids", ids, DType::kI32, {num_tokens});
  expect(kOp, "dy", dy, expect_storage(kOp, "dy", dy), {num_tokens, h});
  expect(kOp, "dtable", dtable, DType::kF32, {dtable.size(0), h});
  NEMO_DISPATCH(stream, embedding_backward, ids, dy, first_row, dtable, accumulate);
}

}  // namespace nemo::kernels
