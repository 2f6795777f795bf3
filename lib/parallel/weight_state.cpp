#include "lib/parallel/weight_state.h"

#include <algorithm>

#include "kernels/elementwise.h"

namespace nemo {

Range WeightState::held(ParamId id, const Range& elements) const {
  const auto& [index, piece] = layout_.place(id);
  const FlatBucket& bucket = layout_.buckets()[index];
  const Range mine = bucket.shard(shard_group(bucket).rank());
  const int64_t begin = std::max(mine.begin - piece.first, elements.begin);
  return {begin, std::max(begin, std::min(mine.end - piece.first, elements.end))};
}

Tensor WeightState::values(ParamId id, const Range& elements) const {
  const auto& [index, piece] = layout_.place(id);
  const FlatBucket& bucket = layout_.buckets()[index];
  const int64_t first = piece.first - bucket.shard(shard_group(bucket).rank()).begin;
  return updated(index).slice(0, first + elements.begin, first + elements.end);
}

Tensor WeightState::updated_of(const Tensor& shard, bool at_home) {
  const DType dtype = options_.masters ? DType::kF32 : shard.dtype();
  if (shard.dtype() == dtype && at_home) return shard;
  Tensor masters(home_.arena(), dtype, shard.shape(), MemoryCategory::kOptimizer, "masters");
  kernels::fill(home_, masters, 0);
  return masters;
}

}  // namespace nemo
