#include "kernels/cross_entropy.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(cross_entropy_statistics)
NEMO_TWINS(cross_entropy_lse)
NEMO_TWINS(cross_entropy_backward)
NEMO_TWINS(cross_entropy_loss)

void cross_entropy_statistics(Stream& stream, const Tensor& logits, const Tensor& targets,
                              int64_t first_col, const Tensor& row_max, const Tensor& row_sum,
                              const Tensor& target_logit) {
  constexpr const char* kOp = "cross_entropy_statistics";
  const int64_t rows = logits.size(0);
  expect(kOp, "logits", logits, DType::kF32, {rows, logits.size(1)});
  expect(kOp, "targets", targets, DType::kI32, {rows});
  expect(kOp, "row_max", row_max, DType::kF32, {rows});
  expect(kOp, "row_sum", row_sum, DType::kF32, {rows});
  expect(kOp, "target_logit", target_logit, DType::kF32, {rows});
  NEMO_DISPATCH(stream, cross_entropy_statistics, logits, targets, first_col, row_max, row_sum,
                target_logit);
}

void cross_entropy_lse(Stream& stream, const Tensor& parts, const Tensor& lse,
                       const Tensor& target_logit) {
  constexpr const char* kOp = "cross_entropy_lse";
  const int64_t rows = lse.size(0);
  expect(kOp, "parts", parts, DType::kF32, {parts.size(0), 3, rows});
  expect(kOp, "lse", lse, DType::kF32, {rows});
  expect(kOp, "target_logit", target_logit, DType::kF32, {rows});
  NEMO_DISPATCH(stream, cross_entropy_lse, parts, lse, target_logit);
}

void cross_entropy_backward(Stream& stream, const Tensor& logits, const Tensor& targets,
                            int64_t first_col, const Tensor& lse, float scale) {
  constexpr const char* kOp = "cross_entropy_backward";
  const int64_t rows = logits.size(0);
  expect(kOp, "logits", logits, DType::kF32, {rows, logits.size(1)});
  expect(kOp, "targets", targets, DType::kI32, {rows});
  expect(kOp, "lse", lse, DType::kF32, {rows});
  NEMO_DISPATCH(stream, cross_entropy_backward, logits, targets, first_col, lse, scale);
}

void cross_entropy_loss(Stream& stream, const Tensor& lse, const Tensor& target_logit,
                        const Tensor& targets, const Tensor& loss_sum) {
  constexpr const char* kOp = "cross_entropy_loss";
  const int64_t rows = lse.size(0);
  expect(kOp, "lse", lse, DType::kF32, {rows});
  expect(kOp, "target_logit", target_logit, DType::kF32, {rows});
  expect(kOp, "targets", targets, DType::kI32, {rows});
  expect(kOp, "loss_sum", loss_sum, DType::kF64, {1});
  NEMO_DISPATCH(stream, cross_entropy_loss, lse, target_logit, targets, loss_sum);
}

}  // namespace nemo::kernels
