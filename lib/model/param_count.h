// Parameters counted from the configuration alone, without building anything.
//
// Shapes (h hidden, a heads * head_dim, k kv heads * head_dim, f inner width, V vocabulary):
//   attention  q [a,h], k and v [k,h], o [h,a]; gpt adds biases a, k, k, h
//   mlp        swiglu: gate and up [f,h], down [h,f]; gelu: [f,h], [h,f]; gpt adds biases f, h
//   moe        router [E,h] and E swiglu MLPs of inner width moe.ffn_hidden_size
//   norms      two per block and one at the end; h, gpt 2h (scale and shift)
//   embedding  [V,h]; gpt adds positions [max_position_embeddings,h]; head [V,h] unless tied
// The configuration must be resolved.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/core/math.h"
#include "lib/recipe/schema.h"
#include "lib/recipe/sizes.h"

namespace nemo {

// Dense and expert parameters are split and sharded over different groups.
struct ParamCount {
  int64_t dense = 0;
  int64_t expert = 0;
  int64_t total() const { return dense + expert; }
  bool operator==(const ParamCount&) const = default;
};

// The logical model: every element once, vocabulary unpadded.
int64_t num_parameters(const ModelConfig& model);
// What one token passes through: top_k experts of each layer instead of all.
int64_t num_active_parameters(const ModelConfig& model);
// Weights that multiply a token's activations: projections, top_k experts, router and head (tied or
// not); no norms, biases or embedding look-ups.
int64_t num_matmul_parameters(const ModelConfig& model);

// Layers of each chunk in the order of depth (chunk i belongs to pipeline rank i % pp), pp * vpp of
// them, by pp_layout. `auto` gives the chunk with the most parameters as few as it can, counting
// embedding and head.
std::vector<int64_t> layers_per_chunk(const ModelConfig& model, const ParallelConfig& parallel);

// Those of pipeline rank r by its chunks, as ranges of all_layers (transformer.h).
std::vector<Range> chunks_of_rank(const ModelConfig& model, const ParallelConfig& parallel,
                                  int64_t rank);

// Rows of a vocabulary table on each tp rank but the last that has any: where tp > 1 the vocabulary
// is cut as if padded to a multiple of lcm(128, tp); no rank holds padding.
int64_t vocab_rows_per_rank(int64_t vocab_size, int64_t tp_size);

// What the first tp rank of each pipeline stage holds after tp, etp and ep, which is the most: kv
// heads fewer than tp are replicated, and a tied head has a copy of its own on the last stage where
// that is not the first.
std::vector<ParamCount> params_per_rank(const ModelConfig& model, const ParallelConfig& parallel,
                                        const Sizes& sizes);

}  // namespace nemo
