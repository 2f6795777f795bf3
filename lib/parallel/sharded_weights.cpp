#include "lib/parallel/sharded_weights.h"

#include "kernels/elementwise.h"

namespace nemo {

ShardedWeights::ShardedWeights(Stream& stream, Stream& home, const ParamSet& params,
                               const FlatLayout& layout, const StateGroups& groups,
                               const WeightOptions& options)
    : WeightState(stream, home, layout, groups, options), params_(params) {
  for (const FlatBucket& flat : layout.buckets()) {
    Bucket& bucket = buckets_.emplace_back();
    bucket.shard = Tensor(home.arena(), options.dtype, {flat.shard_numel()},
                          MemoryCategory::kParameters, "weights");
    kernels::fill(home, bucket.shard, 0);
    bucket.updated = updated_of(bucket.shard, /*at_home=*/true);
  }
}

void ShardedWeights::gather_ahead(int unit) {
  for (const size_t i : layout_.buckets_of_unit(unit)) {
    if (!buckets_[i].all) gather(i);
    buckets_[i].expected = true;
  }
}

void ShardedWeights::acquire(int unit) {
  for (const size_t i : layout_.buckets_of_unit(unit)) {
    Bucket& bucket = buckets_[i];
    if (!bucket.all) gather(i);
    bucket.gathering.wait(stream_);
    bucket.gathering = {};
    bucket.expected = false;
    ++bucket.num_users;
  }
}

Tensor ShardedWeights::get(ParamId id) const {
  const auto& [bucket, piece] = layout_.place(id);
  NEMO_CHECK(buckets_[bucket].num_users > 0, "[weights] {} is read but not acquired",
             params_[id].name);
  return buckets_[bucket]
      .all.slice(0, piece.first, piece.first + piece.numel)
      .view(params_[id].shape);
}

void ShardedWeights::release(int unit) {
  for (const size_t i : layout_.buckets_of_unit(unit)) {
    Bucket& bucket = buckets_[i];
    if (--bucket.num_users == 0 && !bucket.expected) bucket.all = {};
  }
}

void ShardedWeights::publish() {
  for (Bucket& bucket : buckets_) {
    NEMO_CHECK(!bucket.all, "[weights] a unit is still gathered while its shards change");
    if (bucket.updated.raw() != bucket.shard.raw())
      kernels::convert(home_, bucket.updated, bucket.shard);
  }
}

void ShardedWeights::settle() {
  for (Bucket& bucket : buckets_) bucket.gathering.wait(stream_);
}

void ShardedWeights::gather(size_t index) {
  Bucket& bucket = buckets_[index];
  const FlatBucket& flat = layout_.buckets()[index];
  bucket.all = Tensor(stream_.arena(), bucket.shard.dtype(), {flat.numel},
                      MemoryCategory::kCommunication, "gathered_weights");
  Tensor part = bucket.shard;
  if (offloaded()) {
    const Range mine = flat.shard(shard_group(flat).rank());
    part = bucket.all.slice(0, mine.begin, mine.end);
    kernels::convert(stream_, bucket.shard, part);
  }
  bucket.gathering = shard_group(flat).all_gather(part, bucket.all, "weights");
}

}  // namespace nemo
