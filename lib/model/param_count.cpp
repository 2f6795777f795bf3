#include "lib/model/param_count.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <utility>

#include "lib/core/math.h"

namespace nemo {
namespace {

// How a tensor-parallel group divides a model; all 1 for the logical model.
struct Split {
  int64_t tp = 1;
  int64_t etp = 1;
  int64_t ep = 1;
};

int64_t norm(const ModelConfig& m) {
  return m.family == Family::kGpt ? 2 * m.hidden_size : m.hidden_size;
}

int64_t attention_weights(const ModelConfig& m, int64_t tp) {
  const int64_t heads = div_exact(m.num_attention_heads, tp);
  const int64_t kv_heads = std::max<int64_t>(1, m.num_query_groups / tp);
  return 2 * (heads + kv_heads) * m.head_dim * m.hidden_size;
}

int64_t attention_biases(const ModelConfig& m, int64_t tp) {
  if (m.family != Family::kGpt) return 0;
  const int64_t heads = div_exact(m.num_attention_heads, tp);
  const int64_t kv_heads = std::max<int64_t>(1, m.num_query_groups / tp);
  return (heads + 2 * kv_heads) * m.head_dim + m.hidden_size;
}

int64_t mlp_weights(const ModelConfig& m, int64_t width) {
  return (m.activation == Activation::kSwiglu ? 3 : 2) * m.hidden_size * width;
}

ParamCount block(const ModelConfig& m, const Split& split) {
  ParamCount count;
  count.dense = 2 * norm(m) + attention_weights(m, split.tp) + attention_biases(m, split.tp);
  if (m.moe.num_experts > 0) {
    count.dense += m.moe.num_experts * m.hidden_size;
    count.expert = div_exact(m.moe.num_experts, split.ep) *
                   mlp_weights(m, div_exact(m.moe.ffn_hidden_size, split.etp));
  } else {
    const int64_t width = div_exact(m.ffn_hidden_size, split.tp);
    count.dense += mlp_weights(m, width);
    if (m.family == Family::kGpt) count.dense += width + m.hidden_size;
  }
  return count;
}

int64_t head(const ModelConfig& m, int64_t tp) {
  return std::min(m.vocab_size, vocab_rows_per_rank(m.vocab_size, tp)) * m.hidden_size;
}

int64_t embedding(const ModelConfig& m, int64_t tp) {
  const int64_t positions = m.family == Family::kGpt ? m.max_position_embeddings.value_or(0) : 0;
  return head(m, tp) + positions * m.hidden_size;
}

// One layer each, then every further layer to the lightest chunk (the first of equals).
std::vector<int64_t> balanced_layers(const ModelConfig& m, int64_t num_chunks) {
  const int64_t per_layer = block(m, {}).total();
  std::vector<int64_t> layers(static_cast<size_t>(num_chunks), 1);
  using LoadOfChunk = std::pair<int64_t, size_t>;
  std::priority_queue<LoadOfChunk, std::vector<LoadOfChunk>, std::greater<>> lightest;
  for (size_t i = 0; i < layers.size(); ++i)
    lightest.emplace((i == 0 ? embedding(m, 1) : 0) +
                         (i + 1 == layers.size() ? norm(m) + head(m, 1) : 0) + per_layer,
                     i);
  for (int64_t left = m.num_layers - num_chunks; left > 0; --left) {
    const auto [load, chunk] = lightest.top();
    lightest.pop();
    ++layers[chunk];
    lightest.emplace(load + per_layer, chunk);
  }
  return layers;
}

}  // namespace

int64_t vocab_rows_per_rank(int64_t vocab_size, int64_t tp_size) {
  constexpr int64_t kKernelMultiple = 128;
  if (tp_size == 1) return vocab_size;
  return round_up(vocab_size, std::lcm(kKernelMultiple, tp_size)) / tp_size;
}

int64_t num_parameters(const ModelConfig& model) {
  return embedding(model, 1) + model.num_layers * block(model, {}).total() + norm(model) +
         (model.tie_embeddings ? 0 : head(model, 1));
}

int64_t num_active_parameters(const ModelConfig& model) {
  const int64_t idle = std::max<int64_t>(0, model.moe.num_experts - model.moe.top_k);
  return num_parameters(model) -
         model.num_layers * idle * mlp_weights(model, model.moe.ffn_hidden_size);
}

int64_t num_matmul_parameters(const ModelConfig& model) {
  const bool moe = model.moe.num_experts > 0;
  const int64_t mlp = moe ? model.moe.top_k * mlp_weights(model, model.moe.ffn_hidden_size) +
                                model.moe.num_experts * model.hidden_size
                          : mlp_weights(model, model.ffn_hidden_size);
  return model.num_layers * (attention_weights(model, 1) + mlp) + head(model, 1);
}

std::vector<int64_t> layers_per_chunk(const ModelConfig& model, const ParallelConfig& parallel) {
  const int64_t num_chunks = parallel.pp_size * parallel.vpp_size;
  switch (parallel.pp_layout.kind) {
    case PpLayout::Kind::kList:
      return parallel.pp_layout.layers;
    case PpLayout::Kind::kAuto:
      return balanced_layers(model, num_chunks);
    case PpLayout::Kind::kEven:
      break;
  }
  return std::vector<int64_t>(static_cast<size_t>(num_chunks),
                              div_exact(model.num_layers, num_chunks));
}

std::vector<Range> chunks_of_rank(const ModelConfig& model, const ParallelConfig& parallel,
                                  int64_t rank) {
  const std::vector<int64_t> blocks = layers_per_chunk(model, parallel);
  std::vector<Range> chunks;
  int64_t begin = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const bool embeds = i == 0;
    const bool heads = i + 1 == blocks.size();
    const int64_t end = begin + blocks[i] + (embeds ? 1 : 0) + (heads ? 1 : 0);
    if (static_cast<int64_t>(i) % parallel.pp_size == rank) chunks.push_back({begin, end});
    begin = end;
  }
  return chunks;
}

std::vector<ParamCount> params_per_rank(const ModelConfig& model, const ParallelConfig& parallel,
                                        const Sizes& sizes) {
  const Split split = {sizes.tp, sizes.etp, sizes.ep};
  const ParamCount per_layer = block(model, split);
  const std::vector<int64_t> chunks = layers_per_chunk(model, parallel);
  std::vector<ParamCount> stages(static_cast<size_t>(sizes.pp));
  for (size_t chunk = 0; chunk < chunks.size(); ++chunk) {
    ParamCount& stage = stages[chunk % stages.size()];
    stage.dense += chunks[chunk] * per_layer.dense;
    stage.expert += chunks[chunk] * per_layer.expert;
  }
  stages.front().dense += embedding(model, sizes.tp);
  stages.back().dense += norm(model);
  if (!model.tie_embeddings || stages.size() > 1) stages.back().dense += head(model, sizes.tp);
  return stages;
}

}  // namespace nemo
