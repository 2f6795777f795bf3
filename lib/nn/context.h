// What every module call needs beside its tensors.
#pragma once

#include "lib/core/trace.h"
#include "lib/device/stream.h"
#include "lib/mesh/device_mesh.h"
#include "lib/nn/router_state.h"
#include "lib/nn/weights.h"
#include "lib/recipe/schema.h"

namespace nemo {

// The tokens of one micro batch on this rank: of each sample those of its cp rank. Activations have
// T = batch * seq rows, batch-major; with sequence parallelism a tp rank holds T / tp of them
// outside its products (tensor_parallel.h).
struct MicroBatch {
  Tensor tokens;     // [batch, seq] int32
  Tensor targets;    // [batch, seq] int32, negative = none
  Tensor positions;  // [seq] int32, of each column in its whole sample

  int64_t batch() const { return tokens.size(0); }
  int64_t seq() const { return tokens.size(1); }
  int64_t num_tokens() const { return tokens.numel(); }
};

struct Context {
  Stream& stream;
  WeightProvider& weights;
  GradSink& grads;
  // The groups of this rank that modules communicate in.
  const DeviceMesh& mesh;
  // Tokens are divided among the tp ranks where their products are not.
  bool sequence_parallel = false;
  // How attention crosses the cp ranks, which hold the samples' tokens between them
  // (context_parallel.h).
  CpCommType cp_comm_type = CpCommType::kP2P;
  // false: forward only, for evaluation; nothing asks for gradients.
  bool training = true;
  // What the sum of the tokens' losses is multiplied by to give what is differentiated:
  // 1 / (target tokens of the global batch), times the loss scale.
  float loss_weight = 1;
  // The same for auxiliary losses, which are means of a micro batch: 1 / (micro batches of the
  // global batch), times the loss scale.
  double aux_loss_weight = 1;
  // [1] fp64; the head adds the sum of the tokens' losses.
  Tensor loss_sum;
  // Of a model with experts.
  const RouterState* routers = nullptr;
  // Of log.trace.
  Trace* trace = nullptr;

  // What activations and their gradients are stored as, within blocks and between them; statistics,
  // router probabilities and the head's logits are fp32.
  DType activation_dtype = DType::kF32;

  Tensor activation(const Shape& shape, const char* name) {
    return activation(shape, name, activation_dtype);
  }
  Tensor activation(const Shape& shape, const char* name, DType dtype) {
    return Tensor(stream.arena(), dtype, shape, MemoryCategory::kActivations, name);
  }
};

}  // namespace nemo
