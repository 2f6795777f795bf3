// Where one rank's weights and gradients live, and what its optimizer updates, under every sharding
// strategy:
//
//   strategy                   weights                      gradients
//   NO_SHARD                   whole                        whole, all-reduced
//   + distributed_optimizer    whole, gathered each step    whole, reduce-scattered
//   SHARD_GRAD_OP              whole, gathered each step    sharded, each micro batch
//   reduce-scattered FULL_SHARD, HYBRID_SHARD   sharded, gathered each use   sharded, the same
//
// With cpu_offload sharded weights, the optimizer's masters and the gradients it reads lie in host
// memory; a shard is copied to the device when its unit is gathered. Shards are cut among dp_shard
// x cp (experts: the edp of a replica), and summed over dp_replicate.
#pragma once

#include <memory>
#include <vector>

#include "lib/mesh/device_mesh.h"
#include "lib/optim/adamw.h"
#include "lib/parallel/flat_layout.h"
#include "lib/parallel/grad_state.h"
#include "lib/parallel/state_groups.h"
#include "lib/parallel/weight_state.h"

namespace nemo {

class ParameterState {
 public:
  // All must outlive this. home: where what the optimizer updates lives, the stream itself or, with
  // cpu_offload, the host. Weights are zeros until they are set.
  ParameterState(Stream& stream, Stream& home, const ParamSet& params, const Recipe& recipe,
                 const DeviceMesh& mesh);

  WeightState& weights() { return *weights_; }
  GradState& grads() { return *grads_; }
  // What this rank updates, at most one range for each parameter, in order.
  const std::vector<OptimRange>& ranges() const { return ranges_; }
  // Whether no rank before this one holds the same ranges of experts or of dense weights.
  bool is_first_holder(bool experts) const { return groups_.of(experts).replicate->rank() == 0; }

 private:
  StateGroups groups_;
  FlatLayout layout_;
  std::unique_ptr<WeightState> weights_;
  std::unique_ptr<GradState> grads_;
  std::vector<OptimRange> ranges_;
};

}  // namespace nemo
