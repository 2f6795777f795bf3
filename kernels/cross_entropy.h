// Softmax cross-entropy over a vocabulary of which this rank holds the columns first_col …
// first_col + V - 1 (all of them where the vocabulary is not split), in two passes over a chunk of
// logits so that a group can combine its statistics in between.
// logits: [T, V]; targets: [T] int32, negative = not a target (no loss, no gradient);
// row_max, row_sum, target_logit, lse: [T] fp32. V may be 0: a slice of the vocabulary without
// rows.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels {

// row_max = max_v logits, row_sum = sum_v exp(logits - row_max), target_logit = logits[target],
// 0 where the target is not among these columns.
void cross_entropy_statistics(Stream& stream, const Tensor& logits, const Tensor& targets,
                              int64_t first_col, const Tensor& row_max, const Tensor& row_sum,
                              const Tensor& target_logit);

// The statistics of the whole vocabulary from those of its n parts. parts: [n, 3, T], of each part
// row_max, row_sum, target_logit.
//   lse = m + log sum_i row_sum_i exp(row_max_i - m), m = max_i row_max_i
//   target_logit = sum_i target_logit_i
void cross_entropy_lse(Stream& stream, const Tensor& parts, const Tensor& lse,
                       const Tensor& target_logit);

// logits <- dlogits = scale * (exp(logits - lse) - [v == target]), in place; zero rows where the
// target is negative. lse is over the whole vocabulary.
void cross_entropy_backward(Stream& stream, const Tensor& logits, const Tensor& targets,
                            int64_t first_col, const Tensor& lse, float scale);

// Sum over targets of lse - target_logit, in double, fixed order: loss_sum[0] += . loss_sum: [1]
// fp64.
void cross_entropy_loss(Stream& stream, const Tensor& lse, const Tensor& target_logit,
                        const Tensor& targets, const Tensor& loss_sum);

}  // namespace nemo::kernels
