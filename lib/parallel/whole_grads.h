// Every rank keeps gradients of all its weights and adds its micro batches up (NO_SHARD,
// distributed optimizer). They are reduced in buckets as they become final, from the last unit to
// the first: to every rank, or each shard to the rank that updates it.
#pragma once

#include <vector>

#include "lib/device/stream.h"
#include "lib/parallel/flat_layout.h"
#include "lib/parallel/grad_state.h"
#include "lib/parallel/state_groups.h"

namespace nemo {

struct GradOptions {
  // What goes over the wire.
  DType reduce_dtype = DType::kF32;
  // Reduce while backward goes on, instead of after it.
  bool overlap = false;
  // false: reduce a copy of each bucket (costs the bucket's size in memory and two copies).
  bool as_bucket_view = true;
};

class WholeGrads final : public GradState {
 public:
  // All must outlive this. home: where shards live for the optimizer, as of WeightState.
  WholeGrads(Stream& stream, Stream& home, const ParamSet& params, const FlatLayout& layout,
             const StateGroups& groups, const GradOptions& options);

  GradTarget target(ParamId id) override;
  void mark_complete(int unit, bool is_last) override;

  Tensor shard(size_t bucket) const override { return buckets_[bucket].shard; }
  void finish() override;

 private:
  struct Bucket {
    KindGroups groups;
    Tensor all;
    Tensor shard;   // this rank's, of `all` or at home
    Tensor staged;  // its copy for the wire, where there is one
    Range mine;
    int num_units;    // that must be complete
    int num_pending;  // of them
    Work work;
  };

  void reduce(Bucket& bucket);
  void finish(Bucket& bucket);

  Stream& stream_;
  const FlatLayout& layout_;
  GradOptions options_;
  std::vector<Bucket> buckets_;
  std::vector<Tensor> grads_;  // by Param
  std::vector<bool> used_;     // in this step
};

}  // namespace nemo
