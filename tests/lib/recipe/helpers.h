// A small recipe to change, and what resolving says.
#pragma once

#include <string>
#include <vector>

#include "lib/core/error.h"
#include "lib/recipe/resolve.h"

namespace nemo {

// Line numbers count in messages; the first line is `model:`.
inline constexpr const char* kBase = R"(model:
  family: llama
  vocab_size: 257
  num_layers: 4
  hidden_size: 128
  ffn_hidden_size: 352
  num_attention_heads: 4
  num_query_groups: 2
data:
  kind: text
  paths: [a.txt, sub/b.txt]
  seq_length: 128
  global_batch_size: 32
  micro_batch_size: 8
trainer:
  max_steps: 200
optim:
  lr: 3e-3
)";

inline Surroundings here() {
  return {.current_folder = "/here", .num_gpus = 0, .num_cores = 8};
}

inline ResolvedRecipe resolve_text(const std::string& text,
                                   const std::vector<std::string>& overrides = {},
                                   const Surroundings& surroundings = here()) {
  return resolve({"base", "base.yaml", "/recipes", text}, overrides, surroundings);
}

inline ResolvedRecipe resolve_base(const std::vector<std::string>& overrides,
                                   const Surroundings& surroundings = here()) {
  return resolve_text(kBase, overrides, surroundings);
}

// The message of the UserError that resolving throws; "" when it resolves.
inline std::string problems_of(const std::string& text,
                               const std::vector<std::string>& overrides = {},
                               const Surroundings& surroundings = here()) {
  try {
    resolve_text(text, overrides, surroundings);
  } catch (const UserError& e) {
    return e.code() == ExitCode::kUsage ? e.what() : "not a usage error";
  }
  return "";
}

}  // namespace nemo
