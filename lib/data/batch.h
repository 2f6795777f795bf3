// Which samples a data-parallel rank sees in which micro batch. All tp and pp peers of a dp rank
// make the same batches, cp peers columns of the same.
//
// A step takes global_batch_size consecutive samples from `consumed_samples`, the one integer that
// is the whole cursor. In each micro step dp rank r takes samples [r*mbs, (r+1)*mbs) of the next
// mbs*dp_size, so the samples of a step and their order are the same in every layout.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lib/core/math.h"
#include "lib/data/dataset.h"

namespace nemo {

// A target that is none: no loss, no gradient, not counted.
inline constexpr int32_t kNoTarget = -1;

// Belongs to one rank (it has scratch memory); the dataset is shared and must outlive it.
class BatchSampler {
 public:
  // Reads seq_length, micro_batch_size and global_batch_size of config. columns: those of each
  // sample that are wanted, in the order in which they are.
  BatchSampler(const Dataset& dataset, const DataConfig& config, int64_t dp_size, int64_t dp_rank,
               std::span<const Range> columns);

  // Micro batches of a rank in one step.
  int64_t num_microbatches() const { return num_microbatches_; }

  // Fills tokens and targets, both [micro_batch_size, columns]; targets are the tokens one place
  // on. consumed_samples: of all ranks, before the step.
  void train(int64_t consumed_samples, int64_t microbatch, std::span<int32_t> tokens,
             std::span<int32_t> targets);

  // Samples of an evaluation of at most limit_batches global batches: the first ones of the
  // validation part, or all of it.
  int64_t num_validation_samples(int64_t limit_batches) const;

  // The same for sample 0 … num_samples - 1 of the validation part. Rows beyond num_samples are
  // filled up with token 0 and kNoTarget, so each sample counts once in every layout. Micro batches
  // cover the samples when they number ceil(num_samples / (micro_batch_size * dp_size)).
  void validation(int64_t num_samples, int64_t microbatch, std::span<int32_t> tokens,
                  std::span<int32_t> targets);

 private:
  void fill(Part part, int64_t first, int64_t end, std::span<int32_t> tokens,
            std::span<int32_t> targets);
  int64_t first_row(int64_t microbatch) const {
    return (microbatch * dp_size_ + dp_rank_) * micro_batch_size_;
  }

  const Dataset& dataset_;
  std::vector<Range> columns_;
  int64_t row_length_;
  int64_t micro_batch_size_;
  int64_t global_batch_size_;
  int64_t dp_size_;
  int64_t dp_rank_;
  int64_t num_microbatches_;
  std::vector<int32_t> sample_;
};

}  // namespace nemo
