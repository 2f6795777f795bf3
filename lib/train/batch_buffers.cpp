#include "lib/train/batch_buffers.h"

namespace nemo {

BatchBuffers::BatchBuffers(Arena& arena, int64_t micro_batch_size, std::span<const Range> columns) {
  int64_t seq_length = 0;
  for (const Range& range : columns) seq_length += range.size();
  const auto ints = [&](const Shape& shape, const char* name) {
    return Tensor(arena, DType::kI32, shape, MemoryCategory::kData, name);
  };
  batch_ = {ints({micro_batch_size, seq_length}, "tokens"),
            ints({micro_batch_size, seq_length}, "targets"), ints({seq_length}, "positions")};
  if (arena.device().kind == DeviceKind::kRecord) return;  // counted, never written
  int32_t* next = batch_.positions.data<int32_t>();
  for (const Range& range : columns)
    for (int64_t column = range.begin; column < range.end; ++column)
      *next++ = static_cast<int32_t>(column);
}

}  // namespace nemo
