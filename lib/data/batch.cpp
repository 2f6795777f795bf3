#include "lib/data/batch.h"

#include <algorithm>

#include "lib/core/error.h"
#include "lib/core/math.h"

namespace nemo {

BatchSampler::BatchSampler(const Dataset& dataset, const DataConfig& config, int64_t dp_size,
                           int64_t dp_rank)
    : dataset_(dataset),
      seq_length_(config.seq_length),
      micro_batch_size_(config.micro_batch_size),
      global_batch_size_(config.global_batch_size),
      dp_size_(dp_size),
      dp_rank_(dp_rank),
      num_microbatches_(div_exact(global_batch_size_, micro_batch_size_ * dp_size)),
      sample_(static_cast<size_t>(seq_length_ + 1)) {
  NEMO_CHECK(dp_rank >= 0 && dp_rank < dp_size, "[batch] dp rank {} of {}", dp_rank, dp_size);
}

void BatchSampler::train(int64_t consumed_samples, int64_t microbatch, std::span<int32_t> tokens,
                         std::span<int32_t> targets) {
  NEMO_CHECK(microbatch >= 0 && microbatch < num_microbatches_, "[batch] micro batch {} of {}",
             microbatch, num_microbatches_);
  fill(Part::kTrain, consumed_samples + first_row(microbatch), Dataset::kEndless, tokens, targets);
}

int64_t BatchSampler::num_validation_samples(int64_t limit_batches) const {
  return std::min(dataset_.num_samples(Part::kValidation), limit_batches * global_batch_size_);
}

void BatchSampler::validation(int64_t num_samples, int64_t microbatch, std::span<int32_t> tokens,
                              std::span<int32_t> targets) {
  fill(Part::kValidation, first_row(microbatch), num_samples, tokens, targets);
}

void BatchSampler::fill(Part part, int64_t first, int64_t end, std::span<int32_t> tokens,
                        std::span<int32_t> targets) {
  const auto seq = static_cast<size_t>(seq_length_);
  const auto num_rows = static_cast<size_t>(micro_batch_size_);
  NEMO_CHECK(tokens.size() == num_rows * seq && targets.size() == num_rows * seq,
             "[batch] room for {} tokens and {} targets, a micro batch has {} x {}", tokens.size(),
             targets.size(), num_rows, seq);
  for (size_t row = 0; row < num_rows; ++row) {
    const std::span<int32_t> row_tokens = tokens.subspan(row * seq, seq);
    const std::span<int32_t> row_targets = targets.subspan(row * seq, seq);
    const int64_t position = first + static_cast<int64_t>(row);
    if (position >= end) {
      std::ranges::fill(row_tokens, 0);
      std::ranges::fill(row_targets, kNoTarget);
      continue;
    }
    dataset_.read(part, position, sample_);
    std::ranges::copy_n(sample_.begin(), seq_length_, row_tokens.begin());
    std::ranges::copy_n(sample_.begin() + 1, seq_length_, row_targets.begin());
  }
}

}  // namespace nemo
