// The only place that composes schemes: from a recipe and a mesh to one rank's share of training.
#pragma once

#include <memory>
#include <optional>

#include "lib/mesh/device_mesh.h"
#include "lib/model/transformer.h"
#include "lib/optim/adamw.h"
#include "lib/parallel/logical_grads.h"
#include "lib/parallel/parameter_state.h"
#include "lib/parallel/pipeline/pipeline.h"

namespace nemo {

// What one rank trains: its layers, their weights and gradients, its optimizer state.
struct ParallelModel {
  std::unique_ptr<Sharding> sharding;
  std::unique_ptr<ParamSet> params;
  std::unique_ptr<ParameterState> state;
  std::unique_ptr<LogicalGrads> grads;
  std::unique_ptr<Pipeline> pipeline;
  std::unique_ptr<AdamW> optimizer;
  std::optional<RouterState> routers;  // of a model with experts
};

// Weights are zeros. All must outlive the result. `host` keeps what parallel.cpu_offload moves
// there.
ParallelModel parallelize(const Recipe& recipe, const DeviceMesh& mesh, Stream& stream,
                          Stream& host);

}  // namespace nemo
