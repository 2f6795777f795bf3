#include "lib/parallel/sharded_grads.h"

#include "kernels/elementwise.h"

namespace nemo {

ShardedGrads::ShardedGrads(Stream& stream, Stream& home, const ParamSet& params,
                           const FlatLayout& layout, const StateGroups& groups,
                           const GradOptions& options)
    : stream_(stream),
      home_(home),
      params_(params),
      layout_(layout),
      options_(options),
      used_(static_cast<size_t>(params.num_params()), false) {
  for (const FlatBucket& flat : layout.buckets()) {
    Bucket& bucket = buckets_.emplace_back();
    bucket.groups = groups.of(flat.experts);
    bucket.shard = Tensor(home.arena(), DType::kF32, {flat.shard_numel()},
                          MemoryCategory::kGradients, "grads");
  }
}

GradTarget ShardedGrads::target(ParamId id) {
  const auto& [index, piece] = layout_.place(id);
  Bucket& bucket = buckets_[index];
  if (!bucket.all)
    bucket.all = Tensor(stream_.arena(), DType::kF32, {layout_.buckets()[index].numel},
                        MemoryCategory::kCommunication, "unit_grads");
  const bool accumulate = used_[static_cast<size_t>(id)];
  used_[static_cast<size_t>(id)] = true;
  return {bucket.all.slice(0, piece.first, piece.first + piece.numel).view(params_[id].shape),
          accumulate};
}

void ShardedGrads::mark_complete(int unit, bool) {
  for (const size_t index : layout_.buckets_of_unit(unit)) {
    add_reduced();
    reduce(index);
    if (!options_.overlap) add_reduced();
  }
}

// A head adds its table's gradient in forward, maybe of several micro batches before the first is
// complete: what was not touched since the last reduction counts as zero, and a unit of which
// nothing was has nothing to reduce.
void ShardedGrads::reduce(size_t index) {
  Bucket& bucket = buckets_[index];
  const FlatBucket& flat = layout_.buckets()[index];
  Tensor all = std::exchange(bucket.all, {});
  if (!all) return;
  int64_t end = 0;
  for (const FlatPiece& piece : flat.pieces) {
    // The gaps between parameters are reduced too.
    if (end < piece.first) kernels::fill(stream_, all.slice(0, end, piece.first), 0);
    end = piece.first + piece.numel;
    if (!used_[static_cast<size_t>(piece.id)])
      kernels::fill(stream_, all.slice(0, piece.first, end), 0);
    used_[static_cast<size_t>(piece.id)] = false;
  }
  if (end < flat.numel) kernels::fill(stream_, all.slice(0, end, flat.numel), 0);
  if (options_.reduce_dtype != DType::kF32) {
    const Tensor staged(stream_.arena(), options_.reduce_dtype, {flat.numel},
                        MemoryCategory::kCommunication, "staged_grads");
    kernels::convert(stream_, all, staged);
    all = staged;
  }
  const Range mine = flat.shard(bucket.groups.shard->rank());
  const Tensor part = all.slice(0, mine.begin, mine.end);
  under_way_ = {&bucket, part,
                bucket.groups.shard->reduce_scatter(all, part, ReduceOp::kSum, "gradients")};
}

void ShardedGrads::add_reduced() {
  if (!under_way_) return;
  auto& [bucket, part, work] = *under_way_;
  work.wait(stream_);
  if (!bucket->used) {
    kernels::convert(stream_, part, bucket->shard);
  } else if (part.dtype() == DType::kF32) {
    kernels::add(stream_, bucket->shard, part, bucket->shard);
  } else {
    const Tensor widened = stream_.workspace(DType::kF32, part.shape(), "widened_grads");
    kernels::convert(stream_, part, widened);
    kernels::add(stream_, bucket->shard, widened, bucket->shard);
  }
  bucket->used = true;
  under_way_.reset();
}

void ShardedGrads::finish() {
  add_reduced();
  for (Bucket& bucket : buckets_) {
    NEMO_CHECK(bucket.used && !bucket.all, "[grads] a unit never became final");
    bucket.used = false;
    if (bucket.groups.replicate->size() > 1) sum_replicas(bucket);
  }
}

// What is offloaded crosses in a copy.
void ShardedGrads::sum_replicas(Bucket& bucket) {
  Tensor sums = bucket.shard;
  if (&home_ != &stream_) {
    sums = Tensor(stream_.arena(), DType::kF32, bucket.shard.shape(),
                  MemoryCategory::kCommunication, "replicas");
    kernels::convert(stream_, bucket.shard, sums);
  }
  bucket.groups.replicate->all_reduce(sums, ReduceOp::kSum, "gradients").wait(stream_);
  if (sums.raw() != bucket.shard.raw()) kernels::convert(stream_, sums, bucket.shard);
}

}  // namespace nemo
