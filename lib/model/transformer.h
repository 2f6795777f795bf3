// The families llama and gpt as lists of closed layers: embedding, blocks, head.
//
//   llama: RMSNorm, rotary positions, grouped queries, SwiGLU, no biases
//   gpt:   LayerNorm, learned positions, GELU, biases
// Any contiguous run of layers can be built alone, as a pipeline stage; names and initial values do
// not depend on how the model is cut.
#pragma once

#include <memory>
#include <vector>

#include "lib/nn/module.h"
#include "lib/recipe/schema.h"

namespace nemo {

struct Model {
  ParamSet params;
  std::vector<std::unique_ptr<Layer>> layers;
};

// Layers of a whole model, embedding and head included.
constexpr int64_t num_model_layers(const ModelConfig& config) {
  return config.num_layers + 2;
}

// Layers [range.begin, range.end) of num_model_layers: 0 is the embedding, the last one the head.
// The partition must outlive the model. seq_length sizes the rotary table, kept in the arena.
Model build_model(const ModelConfig& config, int64_t seq_length, Range layers,
                  const Partition& partition, Arena& arena);

}  // namespace nemo
