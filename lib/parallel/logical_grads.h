// A step's gradients as those of the logical model: the parts that ranks computed of what they hold
// alike added up (tp ranks; the first and last pipeline stage, which both hold a tied token table),
// and each logical element counted once in the norm.
#pragma once

#include <memory>
#include <vector>

#include "lib/mesh/device_mesh.h"
#include "lib/parallel/parameter_state.h"
#include "lib/parallel/sharding_table.h"

namespace nemo {

class LogicalGrads {
 public:
  // Collective over tp and pp; state and mesh must outlive this.
  LogicalGrads(Stream& stream, const ParamSet& params, const Sharding& sharding,
               const ParameterState& state, const DeviceMesh& mesh, bool tied_table);

  // Once the gradients are summed over the ranks that saw other samples.
  void sum_replicas();
  // After that: the L2 norm over every logical element, the same on every rank. Collective over the
  // world: experts are spread over ranks that hold the same dense weights.
  double norm() const;

 private:
  // Slices of which the ranks of a group each computed a part, summed as one flat piece.
  struct Sum {
    Communicator& group;
    std::vector<Tensor> grads;
    Tensor staged;
  };

  void add_part(const Sharding& sharding, ParamRole role, const Tensor& grad);
  // Whether no rank before this one along the axes that replicate the weights holds the same.
  bool is_first_holder(const Sharding& sharding, ParamRole role) const;

  Stream& stream_;
  const ParameterState& state_;
  const DeviceMesh& mesh_;
  bool tied_table_;
  std::unique_ptr<Communicator> kv_replicas_;
  std::unique_ptr<Communicator> end_stages_;
  Sum over_tp_;
  Sum over_kv_replicas_;
  Sum over_end_stages_;
  std::vector<Tensor> counted_;  // in the norm by this rank
};

}  // namespace nemo
