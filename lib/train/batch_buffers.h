// The token buffers of one rank: filled from the data for every micro batch.
#pragma once

#include "lib/data/batch.h"
#include "lib/nn/context.h"

namespace nemo {

class BatchBuffers {
 public:
  // columns: those of each sample that this rank holds, in its order.
  BatchBuffers(Arena& arena, int64_t micro_batch_size, std::span<const Range> columns);

  // The buffers; `tokens` and `targets` are spans of the same memory.
  const MicroBatch& batch() const { return batch_; }
  std::span<int32_t> tokens() const { return span_of(batch_.tokens); }
  std::span<int32_t> targets() const { return span_of(batch_.targets); }

 private:
  static std::span<int32_t> span_of(const Tensor& tensor) {
    return {tensor.data<int32_t>(), static_cast<size_t>(tensor.numel())};
  }

  MicroBatch batch_;
};

}  // namespace nemo
