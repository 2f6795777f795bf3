// Bytes of training state: parameters, their gradients, optimizer state. Activations are not here.
//
// Per parameter, with 16-bit weights: 2 + gradients 4 (fp32) + master and two moments 12 = 18; with
// fp32 weights, or bf16-true (no master copy): weights + 4 + 8. Sharded over d ranks (dp_shard*cp;
// experts: edp of one replica):
//   NO_SHARD                 parameters, gradients, optimizer whole
//   + distributed_optimizer  optimizer / d
//   SHARD_GRAD_OP            parameters whole (gathered), gradients / d, optimizer / d
//   FULL_SHARD, HYBRID_SHARD all / d
#pragma once

#include <vector>

#include "lib/recipe/resolve.h"

namespace nemo {

struct StateMemory {
  int64_t parameters = 0;
  int64_t gradients = 0;
  int64_t optimizer = 0;
  int64_t total() const { return parameters + gradients + optimizer; }
  bool operator==(const StateMemory&) const = default;
};

// Whether weights have fp32 masters beside them, which the optimizer updates.
bool has_masters(const Recipe& recipe);

// Of one rank of each pipeline stage, in bytes. With parallel.cpu_offload what is sharded lies in
// host memory; the figures are the same.
std::vector<StateMemory> state_memory(const ResolvedRecipe& resolved);

}  // namespace nemo
