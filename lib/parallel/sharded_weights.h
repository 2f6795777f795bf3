// Every rank keeps its shard of each unit (FULL_SHARD, HYBRID_SHARD); the whole is gathered for
// each use and let go after it.
#pragma once

#include <vector>

#include "lib/parallel/weight_state.h"

namespace nemo {

class ShardedWeights final : public WeightState {
 public:
  // layout: of one bucket for each unit and kind.
  ShardedWeights(Stream& stream, Stream& home, const ParamSet& params, const FlatLayout& layout,
                 const StateGroups& groups, const WeightOptions& options);

  void gather_ahead(int unit) override;
  void acquire(int unit) override;
  Tensor get(ParamId id) const override;
  void release(int unit) override;

  Tensor updated(size_t bucket) const override { return buckets_[bucket].updated; }
  void publish() override;
  void settle() override;

 private:
  struct Bucket {
    Tensor shard;    // at home
    Tensor updated;  // the shard itself or its master
    Tensor all;      // while a use is near
    Work gathering;
    int num_users = 0;
    bool expected = false;  // gathered ahead, not yet acquired
  };

  void gather(size_t index);

  const ParamSet& params_;
  std::vector<Bucket> buckets_;
};

}  // namespace nemo
