// Where one rank's weights live, between the modules that read them and the optimizer that updates
// its shard of them.
#pragma once

#include "lib/device/stream.h"
#include "lib/nn/weights.h"
#include "lib/parallel/flat_layout.h"
#include "lib/parallel/state_groups.h"

namespace nemo {

struct WeightOptions {
  // What modules read.
  DType dtype = DType::kF32;
  // The optimizer updates fp32 masters; without them what has the weights' own dtype.
  bool masters = false;
  // A bucket's gathering is waited for at its next use, not in publish.
  bool overlap = false;
};

class WeightState : public WeightProvider {
 public:
  // All must outlive this. home: where what the optimizer updates lives, the stream itself or, with
  // cpu_offload, the host.
  WeightState(Stream& stream, Stream& home, const FlatLayout& layout, const StateGroups& groups,
              const WeightOptions& options)
      : stream_(stream), home_(home), layout_(layout), groups_(groups), options_(options) {}

  // Of a Param's elements those that this rank updates; empty where it has none of them.
  Range held(ParamId id, const Range& elements) const;
  // [elements.size()]: where those it holds are kept, fp32 if there are masters. Once all are
  // written, publish.
  Tensor values(ParamId id, const Range& elements) const;

  // What this rank updates of a bucket: its shard, of the weights themselves or of their masters.
  virtual Tensor updated(size_t bucket) const = 0;
  // What was updated becomes what modules read, on every rank. What it sends may still be under way
  // when it returns; acquire waits for it.
  virtual void publish() = 0;
  // Nothing is under way any more.
  virtual void settle() = 0;

 protected:
  // What is updated of a shard: itself where it has the dtype and is at home, else zeros that do.
  Tensor updated_of(const Tensor& shard, bool at_home);
  bool offloaded() const { return &home_ != &stream_; }
  Communicator& shard_group(const FlatBucket& bucket) const {
    return *groups_.of(bucket.experts).shard;
  }

  Stream& stream_;
  Stream& home_;
  const FlatLayout& layout_;
  const StateGroups& groups_;
  const WeightOptions options_;
};

}  // namespace nemo
