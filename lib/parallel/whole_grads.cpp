#include "lib/parallel/whole_grads.h"

#include "kernels/elementwise.h"

namespace nemo {

WholeGrads::WholeGrads(Stream& stream, Stream& home, const ParamSet& params,
                       const FlatLayout& layout, const StateGroups& groups,
                       const GradOptions& options)
    : stream_(stream),
      layout_(layout),
      options_(options),
      grads_(static_cast<size_t>(params.num_params())),
      used_(grads_.size(), false) {
  const bool staged = !options.as_bucket_view || options.reduce_dtype != DType::kF32;
  for (const FlatBucket& flat : layout.buckets()) {
    Bucket& bucket = buckets_.emplace_back();
    bucket.groups = groups.of(flat.experts);
    bucket.all =
        Tensor(stream.arena(), DType::kF32, {flat.numel}, MemoryCategory::kGradients, "grads");
    kernels::fill(stream, bucket.all, 0);  // the gaps between parameters are reduced too
    bucket.mine = flat.shard(bucket.groups.shard->rank());
    bucket.shard = &home == &stream ? bucket.all.slice(0, bucket.mine.begin, bucket.mine.end)
                                    : Tensor(home.arena(), DType::kF32, {bucket.mine.size()},
                                             MemoryCategory::kGradients, "grads");
    if (staged)
      bucket.staged = Tensor(stream.arena(), options.reduce_dtype, {flat.numel},
                             MemoryCategory::kCommunication, "bucket");
    bucket.num_units = bucket.num_pending = static_cast<int>(flat.units.size());
    for (const FlatPiece& piece : flat.pieces)
      grads_[static_cast<size_t>(piece.id)] =
          bucket.all.slice(0, piece.first, piece.first + piece.numel).view(params[piece.id].shape);
  }
}

GradTarget WholeGrads::target(ParamId id) {
  const size_t i = static_cast<size_t>(id);
  const bool accumulate = used_[i];
  used_[i] = true;
  return {grads_[i], accumulate};
}

void WholeGrads::mark_complete(int unit, bool is_last) {
  if (!is_last) return;
  for (const size_t index : layout_.buckets_of_unit(unit)) {
    Bucket& bucket = buckets_[index];
    NEMO_CHECK(bucket.num_pending > 0, "[grads] unit {} is final twice in a step", unit);
    if (--bucket.num_pending == 0 && options_.overlap) reduce(bucket);
  }
}

void WholeGrads::finish() {
  for (Bucket& bucket : buckets_) {
    NEMO_CHECK(bucket.num_pending == 0, "[grads] {} units never became final", bucket.num_pending);
    if (!options_.overlap) reduce(bucket);
  }
  for (Bucket& bucket : buckets_) finish(bucket);
  used_.assign(used_.size(), false);
}

// Over the shards' ranks if there are any, else over the replicas at once.
void WholeGrads::reduce(Bucket& bucket) {
  if (bucket.staged) kernels::convert(stream_, bucket.all, bucket.staged);
  const Tensor& wire = bucket.staged ? bucket.staged : bucket.all;
  const auto& [shard, replicate] = bucket.groups;
  bucket.work = shard->size() > 1
                    ? shard->reduce_scatter(wire, wire.slice(0, bucket.mine.begin, bucket.mine.end),
                                            ReduceOp::kSum, "gradients")
                    : replicate->all_reduce(wire, ReduceOp::kSum, "gradients");
}

void WholeGrads::finish(Bucket& bucket) {
  bucket.work.wait(stream_);
  bucket.work = {};
  const Tensor& wire = bucket.staged ? bucket.staged : bucket.all;
  const Tensor mine = wire.slice(0, bucket.mine.begin, bucket.mine.end);
  const auto& [shard, replicate] = bucket.groups;
  if (shard->size() > 1 && replicate->size() > 1)
    replicate->all_reduce(mine, ReduceOp::kSum, "gradients").wait(stream_);
  if (mine.raw() != bucket.shard.raw()) kernels::convert(stream_, mine, bucket.shard);
  bucket.num_pending = bucket.num_units;
}

}  // namespace nemo
