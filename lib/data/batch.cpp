#include "lib/data/batch.h"

#include <algorithm>

#include "lib/core/error.h"
#include "lib/core/math.h"

namespace nemo {

BatchSampler::BatchSampler(const Dataset& dataset, const DataConfig& config, int64_t dp_size,
                           int64_t dp_rank, std::span<const Range> columns)
    : dataset_(dataset),
      columns_(columns.begin(), columns.end()),
      row_length_(0),
      micro_batch_size_(config.micro_batch_size),
      global_batch_size_(config.global_batch_size),
      dp_size_(dp_size),
      dp_rank_(dp_rank),
      num_microbatches_(div_exact(global_batch_size_, micro_batch_size_ * dp_size)),
      sample_(static_cast<size_t>(config.seq_length + 1)) {
  NEMO_CHECK(dp_rank >= 0 && dp_rank < dp_size, "[batch] dp rank {} of {}", dp_rank, dp_size);
  for (const Range& range : columns_) {
    NEMO_CHECK(0 <= range.begin && range.begin <= range.end && range.end <= config.seq_length,
               "[batch] columns [{}, {}) of {}", range.begin, range.end, config.seq_length);
    row_length_ += range.size();
  }
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
  const auto seq = static_cast<size_t>(row_length_);
  const auto num_rows = static_cast<size_t>(micro_batch_size_);
  NEMO_CHECK(tokens.size() == num_rows * seq && targets.size() == num_rows * seq,
             "[batch] room for {} tokens and {} targets, a micro batch has {} x {}", tokens.size(),
             targets.size(), num_rows, seq);
  for (size_t row = 0; row < num_rows; ++row) {
    std::span<int32_t> row_tokens = tokens.subspan(row * seq, seq);
    std::span<int32_t> row_targets = targets.subspan(row * seq, seq);
    const int64_t position = first + static_cast<int64_t>(row);
    if (position >= end) {
      std::ranges::fill(row_tokens, 0);
      std::ranges::fill(row_targets, kNoTarget);
      continue;
    }
    dataset_.read(part, position, sample_);
    for (const Range& range : columns_) {
      std::copy_n(sample_.begin() + range.begin, range.size(), row_tokens.begin());
      std::copy_n(sample_.begin() + range.begin + 1, range.size(), row_targets.begin());
      row_tokens = row_tokens.subspan(static_cast<size_t>(range.size()));
      row_targets = row_targets.subspan(static_cast<size_t>(range.size()));
    }
  }
}

}  // namespace nemo
