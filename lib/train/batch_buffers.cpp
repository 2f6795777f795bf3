#include "lib/train/batch_buffers.h"

#include <numeric>

namespace nemo {

BatchBuffers::BatchBuffers(Arena& arena, int64_t micro_batch_size, int64_t seq_length) {
  const auto ints = [&](const Shape& shape, const char* name) {
    return Tensor(arena, DType::kI32, shape, MemoryCategory::kData, name);
  };
  batch_ = {ints({micro_batch_size, seq_length}, "tokens"),
            ints({micro_batch_size, seq_length}, "targets"), ints({seq_length}, "positions")};
  if (arena.device().kind == DeviceKind::kRecord) return;  // counted, never written
  const std::span<int32_t> positions = span_of(batch_.positions);
  std::iota(positions.begin(), positions.end(), 0);
}

}  // namespace nemo
