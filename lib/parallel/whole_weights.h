// Every rank keeps all weights (NO_SHARD, distributed optimizer, SHARD_GRAD_OP). Where shards of
// them are updated by different ranks, they are gathered once a step.
#pragma once

#include <vector>

#include "lib/parallel/weight_state.h"

namespace nemo {

class WholeWeights final : public WeightState {
 public:
  WholeWeights(Stream& stream, Stream& home, const ParamSet& params, const FlatLayout& layout,
               const StateGroups& groups, const WeightOptions& options);

  void gather_ahead(int) override {}
  void acquire(int unit) override;
  Tensor get(ParamId id) const override { return weights_[static_cast<size_t>(id)]; }
  void release(int) override {}

  Tensor updated(size_t bucket) const override { return buckets_[bucket].updated; }
  void publish() override;
  void settle() override;

 private:
  struct Bucket {
    Tensor all;
    Tensor shard;    // of `all`, this rank's
    Tensor updated;  // the shard itself or its master
    Work gathering;
  };

  std::vector<Bucket> buckets_;
  std::vector<Tensor> weights_;  // by Param
};

}  // namespace nemo
