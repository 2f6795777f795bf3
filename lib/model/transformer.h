// The families llama, mixtral and gpt as lists of closed layers: embedding, blocks, head.
//
//   llama:   RMSNorm, rotary positions, grouped queries, SwiGLU, no biases
//   mixtral: as llama, with a mixture of experts in the place of each MLP
//   gpt:     LayerNorm, learned positions, GELU, biases
// Any contiguous runs of layers can be built alone, as the chunks of a pipeline rank; names and
// initial values do not depend on how the model is cut.
#pragma once

#include <memory>
#include <vector>

#include "lib/nn/module.h"
#include "lib/recipe/schema.h"

namespace nemo {

struct Model {
  ParamSet params;
  std::vector<std::vector<std::unique_ptr<Layer>>> chunks;
};

// Layers of a whole model, embedding and head included.
constexpr int64_t num_model_layers(const ModelConfig& config) {
  return config.num_layers + 2;
}

// The layers of the whole model: 0 is the embedding, the last one the head.
inline Range all_layers(const ModelConfig& config) {
  return {0, num_model_layers(config)};
}

// Chunks of all_layers, ascending. The partition must outlive the model. seq_length sizes the
// rotary table, kept in the arena. recompute: of blocks; the embedding keeps nothing, and the head
// takes its gradients in forward.
Model build_model(const ModelConfig& config, int64_t seq_length, const std::vector<Range>& chunks,
                  const Partition& partition, Arena& arena, Recompute recompute = Recompute::kNone,
                  DType buffer_dtype = DType::kF32);

}  // namespace nemo
