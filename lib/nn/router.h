// Which experts each token goes to, and with what weight (Shazeer et al. 2017; Fedus et al. 2022):
// the top_k of the logits x w^T, in fp32 whatever the model's precision.
//
// Two losses may keep the load even, added for each micro batch (T its tokens over tp and cp, E
// experts, f_i the share of choices that went to expert i, P_i the mean of its full softmax
// probability, lse the token's log-sum-exp):
//   aux  coeff * E * sum_i f_i P_i      differentiated through P alone
//   z    coeff * mean(lse^2)            (Zoph et al. 2022)
// Or a bias that only chooses follows the load without a loss (Wang et al. 2024).
#pragma once

#include "lib/nn/module.h"

namespace nemo {

struct RouterConfig {
  int64_t num_experts;
  int64_t top_k;
  bool pre_softmax;
  double aux_loss_coeff;
  double z_loss_coeff;
  int64_t layer;  // its row in RouterState
};

class Router {
 public:
  struct Saved {
    Tensor x;        // [rows, h]
    Tensor logits;   // [rows, E]
    Tensor indices;  // [rows, k] int32, the chosen experts
    Tensor probs;    // [rows, k], their weights
    Tensor load;     // [E], what the aux loss multiplies probabilities by; empty without
  };
  struct Deferred {
    Tensor x;        // [rows, h]
    Tensor dlogits;  // [rows, E]
  };

  // weight: [E, h].
  Router(const RouterConfig& config, ParamId weight) : config_(config), weight_(weight) {}

  // Leaves its result in saved.indices and saved.probs.
  void forward(Context& ctx, const Tensor& x, Saved& saved) const;
  // dprobs: [rows, k]; returns dx.
  Tensor backward_input(Context& ctx, const Tensor& dprobs, Saved saved, Deferred& deferred) const;
  void backward_weight(Context& ctx, Deferred deferred) const;

 private:
  // Adds to the step's totals, and gives the load where there is an aux loss.
  Tensor count(Context& ctx, const Saved& saved) const;
  // Tokens of the micro batch over tp and cp.
  int64_t num_tokens(const Context& ctx, int64_t rows) const;

  RouterConfig config_;
  ParamId weight_;
};

}  // namespace nemo
