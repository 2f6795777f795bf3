// Where one rank's weights live, between the modules that read them and the optimizer that updates
// its shard of them.
#pragma once

#include "lib/device/stream.h"
#include "lib/nn/weights.h"
#include "lib/parallel/flat_layout.h"
#include "lib/parallel/state_groups.h"

namespace nemo {

class WeightState : public WeightProvider {
 public:
  // All must outlive this. home: where what the optimizer updates lives, the stream itself or, with
  // cpu_offload, the host.
  WeightState(Stream& stream, Stream& home, const FlatLayout& layout, const StateGroups& groups)
      : stream_(stream), home_(home), layout_(layout), groups_(groups) {}

  // Of a Param's elements those that this rank updates; empty where it has none of them.
  Range held(ParamId id, const Range& elements) const;
  // [elements.size()] fp32: where those it holds are kept. Once all are written, publish.
  Tensor values(ParamId id, const Range& elements) const;

  // What this rank updates of a bucket: its shard in fp32, the weights themselves or their masters.
  virtual Tensor updated(size_t bucket) const = 0;
  // What was updated becomes what modules read, on every rank. What it sends may still be under way
  // when it returns; acquire waits for it.
  virtual void publish() = 0;
  // Nothing is under way any more.
  virtual void settle() = 0;

 protected:
  // The fp32 values behind a shard: itself where it is fp32 and at home, else masters, zeros.
  Tensor masters_of(const Tensor& shard, bool at_home);
  bool offloaded() const { return &home_ != &stream_; }
  Communicator& shard_group(const FlatBucket& bucket) const {
    return *groups_.of(bucket.experts).shard;
  }

  Stream& stream_;
  Stream& home_;
  const FlatLayout& layout_;
  const StateGroups& groups_;
};

}  // namespace nemo
