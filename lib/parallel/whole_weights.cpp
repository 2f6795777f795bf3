#include "lib/parallel/whole_weights.h"

#include "kernels/elementwise.h"

namespace nemo {

WholeWeights::WholeWeights(Stream& stream, Stream& home, const ParamSet& params,
                           const FlatLayout& layout, const StateGroups& groups,
                           const WeightOptions& options)
    : WeightState(stream, home, layout, groups, options),
      weights_(static_cast<size_t>(params.num_params())) {
  for (const FlatBucket& flat : layout.buckets()) {
    Bucket& bucket = buckets_.emplace_back();
    bucket.all =
        Tensor(stream.arena(), options.dtype, {flat.numel}, MemoryCategory::kParameters, "weights");
    kernels::fill(stream, bucket.all, 0);  // the gaps between parameters are gathered too
    const Range mine = flat.shard(shard_group(flat).rank());
    bucket.shard = bucket.all.slice(0, mine.begin, mine.end);
    bucket.updated = updated_of(bucket.shard, !offloaded());
    for (const FlatPiece& piece : flat.pieces)
      weights_[static_cast<size_t>(piece.id)] =
          bucket.all.slice(0, piece.first, piece.first + piece.numel).view(params[piece.id].shape);
  }
}

void WholeWeights::acquire(int unit) {
  for (const size_t i : layout_.buckets_of_unit(unit)) {
    buckets_[i].gathering.wait(stream_);
    buckets_[i].gathering = {};
  }
}

void WholeWeights::publish() {
  // In the order of forward, in which they are needed.
  for (size_t i = buckets_.size(); i-- > 0;) {
    Bucket& bucket = buckets_[i];
    Communicator& group = shard_group(layout_.buckets()[i]);
    if (bucket.updated.raw() != bucket.shard.raw())
      kernels::convert(stream_, bucket.updated, bucket.shard);
    if (group.size() > 1) bucket.gathering = group.all_gather(bucket.shard, bucket.all, "weights");
  }
  if (!options_.overlap) settle();
}

void WholeWeights::settle() {
  for (Bucket& bucket : buckets_) {
    bucket.gathering.wait(stream_);
    bucket.gathering = {};
  }
}

}  // namespace nemo
