#include "lib/parallel/flat_layout.h"

#include <utility>

#include "lib/core/dtype.h"

namespace nemo {
namespace {

// Every parameter and every shard begins on a cache line.
constexpr int64_t kAlignElements = 16;

bool is_vocab_table(const Param& param) {
  const ParamRole role = param.parts[0].tensor.role;
  return role == ParamRole::kTokenEmbedding || role == ParamRole::kHead;
}

}  // namespace

FlatLayout::FlatLayout(const ParamSet& params, const NumShards& num_shards, double bucket_bytes)
    : buckets_of_unit_(static_cast<size_t>(params.num_units())),
      places_(static_cast<size_t>(params.num_params())) {
  add_kind(params, /*experts=*/false, num_shards.dense, bucket_bytes);
  add_kind(params, /*experts=*/true, num_shards.experts, bucket_bytes);
}

void FlatLayout::add_kind(const ParamSet& params, bool experts, int64_t num_shards,
                          double bucket_bytes) {
  FlatBucket bucket{experts, {}, {}, num_shards, 0};
  for (int unit = params.num_units() - 1; unit >= 0; --unit) {
    int64_t numel = 0;
    bool alone = false;
    std::vector<FlatPiece> pieces;
    for (ParamId id = 0; id < params.num_params(); ++id) {
      if (params[id].unit != unit || params[id].is_expert() != experts) continue;
      alone |= is_vocab_table(params[id]);
      pieces.push_back({id, numel, params[id].shape.numel()});
      numel += round_up(params[id].shape.numel(), kAlignElements);
    }
    if (pieces.empty()) continue;
    if (alone) close(bucket);
    // Units come last first, but lie in the order of forward.
    for (FlatPiece& piece : bucket.pieces) piece.first += numel;
    bucket.pieces.insert(bucket.pieces.begin(), pieces.begin(), pieces.end());
    bucket.units.insert(bucket.units.begin(), unit);
    bucket.numel += numel;
    if (alone || static_cast<double>(bucket.numel * size_of(DType::kF32)) >= bucket_bytes)
      close(bucket);
  }
  close(bucket);
}

// Takes the bucket as it is and begins the next one.
void FlatLayout::close(FlatBucket& bucket) {
  if (bucket.pieces.empty()) return;
  bucket.numel = round_up(bucket.numel, kAlignElements * bucket.num_shards);
  for (int unit : bucket.units)
    buckets_of_unit_[static_cast<size_t>(unit)].push_back(buckets_.size());
  for (const FlatPiece& piece : bucket.pieces)
    places_[static_cast<size_t>(piece.id)] = {buckets_.size(), piece};
  FlatBucket next{bucket.experts, {}, {}, bucket.num_shards, 0};
  buckets_.push_back(std::exchange(bucket, std::move(next)));
}

}  // namespace nemo
