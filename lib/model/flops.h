// FLOPs of training, for MFU.
#pragma once

#include <cstdint>

#include "lib/recipe/schema.h"

namespace nemo {

// Forward and backward of one token: 6*N_matmul for the weights (active experts, head included,
// input embedding not) and 12*L*seq*a for attention scores, a = heads * head_dim (the hidden size,
// unless head_dim is given). Published figures differ in whether the masked half of the scores
// counts, hence both.
struct FlopsPerToken {
  double full = 0.0;
  double causal = 0.0;  // half the scores
};

FlopsPerToken flops_per_token(const ModelConfig& model, int64_t seq_length);

}  // namespace nemo
