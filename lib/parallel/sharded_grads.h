// Every rank keeps its shard of the gradients (SHARD_GRAD_OP, FULL_SHARD, HYBRID_SHARD). A unit's
// gradients of one micro batch are whole only until they are reduced, each shard to its rank, which
// adds it up in fp32.
#pragma once

#include <optional>
#include <vector>

#include "lib/parallel/whole_grads.h"

namespace nemo {

class ShardedGrads final : public GradState {
 public:
  // All must outlive this. layout: of one bucket for each unit and kind. home: where shards live,
  // as of WeightState. With options.overlap a unit is reduced while the next one is computed.
  ShardedGrads(Stream& stream, Stream& home, const ParamSet& params, const FlatLayout& layout,
               const StateGroups& groups, const GradOptions& options);

  GradTarget target(ParamId id) override;
  void mark_complete(int unit, bool is_last) override;

  Tensor shard(size_t bucket) const override { return buckets_[bucket].shard; }
  void finish() override;

 private:
  struct Bucket {
    KindGroups groups;
    Tensor shard;       // sums of the step
    bool used = false;  // in this step
    Tensor all;         // of the micro batches not yet reduced
  };
  struct Reduction {
    Bucket* bucket;
    Tensor part;  // this rank's
    Work work;
  };

  void reduce(size_t index);
  void add_reduced();
  void sum_replicas(Bucket& bucket);

  Stream& stream_;
  Stream& home_;
  const ParamSet& params_;
  const FlatLayout& layout_;
  GradOptions options_;
  std::vector<Bucket> buckets_;
  std::vector<bool> used_;  // by Param: its part of `all` has a value
  std::optional<Reduction> under_way_;
};

}  // namespace nemo
