#include "lib/checkpoint/hf_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <vector>

#include "lib/core/error.h"

namespace nemo {
namespace {

// `{}` stands for a number; the numbers of a logical name go into the Hugging Face name in order.
// Rows name modules: ".weight" and ".bias" are common to both sides. Only weights are transposed.
struct Row {
  std::string_view logical;
  std::string_view hf;
  bool transposed = false;
  int part = 0;
  int num_parts = 1;
};

constexpr Row kLlama[] = {
    {"embedding", "model.embed_tokens"},
    {"layers.{}.attention_norm", "model.layers.{}.input_layernorm"},
    {"layers.{}.attention.q", "model.layers.{}.self_attn.q_proj"},
    {"layers.{}.attention.k", "model.layers.{}.self_attn.k_proj"},
    {"layers.{}.attention.v", "model.layers.{}.self_attn.v_proj"},
    {"layers.{}.attention.out", "model.layers.{}.self_attn.o_proj"},
    {"layers.{}.mlp_norm", "model.layers.{}.post_attention_layernorm"},
    {"layers.{}.mlp.gate", "model.layers.{}.mlp.gate_proj"},
    {"layers.{}.mlp.up", "model.layers.{}.mlp.up_proj"},
    {"layers.{}.mlp.down", "model.layers.{}.mlp.down_proj"},
    {"layers.{}.moe.router", "model.layers.{}.block_sparse_moe.gate"},
    {"layers.{}.moe.experts.{}.gate", "model.layers.{}.block_sparse_moe.experts.{}.w1"},
    {"layers.{}.moe.experts.{}.up", "model.layers.{}.block_sparse_moe.experts.{}.w3"},
    {"layers.{}.moe.experts.{}.down", "model.layers.{}.block_sparse_moe.experts.{}.w2"},
    {"final_norm", "model.norm"},
    {"head", "lm_head"},
};

constexpr Row kGpt[] = {
    {"embedding", "transformer.wte"},
    {"embedding.position", "transformer.wpe"},
    {"layers.{}.attention_norm", "transformer.h.{}.ln_1"},
    {"layers.{}.attention.q", "transformer.h.{}.attn.c_attn", true, 0, 3},
    {"layers.{}.attention.k", "transformer.h.{}.attn.c_attn", true, 1, 3},
    {"layers.{}.attention.v", "transformer.h.{}.attn.c_attn", true, 2, 3},
    {"layers.{}.attention.out", "transformer.h.{}.attn.c_proj", true},
    {"layers.{}.mlp_norm", "transformer.h.{}.ln_2"},
    {"layers.{}.mlp.up", "transformer.h.{}.mlp.c_fc", true},
    {"layers.{}.mlp.down", "transformer.h.{}.mlp.c_proj", true},
    {"final_norm", "transformer.ln_f"},
    {"head", "lm_head"},
};

bool is_number(std::string_view word) {
  return !word.empty() &&
         std::all_of(word.begin(), word.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Calls put(word, separator) for each word of a dotted name.
template <typename Put>
void for_words(std::string_view name, Put put) {
  while (true) {
    const size_t dot = name.find('.');
    put(name.substr(0, dot));
    if (dot == std::string_view::npos) return;
    name.remove_prefix(dot + 1);
  }
}

// "layers.3.mlp.up" -> "layers.{}.mlp.up" and ["3"].
std::string with_holes(std::string_view name, std::vector<std::string_view>* numbers) {
  std::string pattern;
  for_words(name, [&](std::string_view word) {
    if (!pattern.empty()) pattern += '.';
    if (is_number(word)) numbers->push_back(word);
    pattern += is_number(word) ? "{}" : word;
  });
  return pattern;
}

std::string fill_holes(std::string_view pattern, const std::vector<std::string_view>& numbers) {
  std::string name;
  size_t next = 0;
  for_words(pattern, [&](std::string_view word) {
    if (!name.empty()) name += '.';
    name += word == "{}" ? numbers[next++] : word;
  });
  return name;
}

}  // namespace

HfTensorSource hf_source(Family family, std::string_view logical_name) {
  const std::span<const Row> rows = family == Family::kGpt ? std::span<const Row>(kGpt) : kLlama;
  const size_t dot = std::min(logical_name.rfind('.'), logical_name.size());
  const std::string_view kind = logical_name.substr(dot);
  std::vector<std::string_view> numbers;
  const std::string module = with_holes(logical_name.substr(0, dot), &numbers);
  const auto row =
      std::find_if(rows.begin(), rows.end(), [&](const Row& r) { return r.logical == module; });
  NEMO_CHECK(row != rows.end() && (kind == ".weight" || kind == ".bias"),
             "[huggingface] no tensor of family {} is called {}", to_string(family), logical_name);
  return {fill_holes(row->hf, numbers) + std::string(kind), row->transposed && kind == ".weight",
          row->part, row->num_parts};
}

}  // namespace nemo
