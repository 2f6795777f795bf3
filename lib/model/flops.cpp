#include "lib/model/flops.h"

#include "lib/model/param_count.h"

namespace nemo {

FlopsPerToken flops_per_token(const ModelConfig& model, int64_t seq_length) {
  const double weights = 6.0 * static_cast<double>(num_matmul_parameters(model));
  const double scores = 12.0 * static_cast<double>(model.num_layers) *
                        static_cast<double>(seq_length) *
                        static_cast<double>(model.num_attention_heads * model.head_dim);
  return {weights + scores, weights + scores / 2.0};
}

}  // namespace nemo
