// The token buffers of one rank: filled from the data for every micro batch.
#pragma once

#include "lib/data/batch.h"
#include "lib/nn/context.h"

namespace nemo {

class BatchBuffers {
 public:
  BatchBuffers(Arena& arena, int64_t micro_batch_size, int64_t seq_length);

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
