// Rules over the model's own sizes, and what its family has no use for.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "lib/core/counted.h"
#include "lib/recipe/rules.h"

namespace nemo {
namespace {

void check_shapes(Draft& d) {
  const ModelConfig& m = d.recipe().model;
  d.check({"model.hidden_size", "model.num_attention_heads"}, [&]() -> Problem {
    if (d.given("model.head_dim") || m.hidden_size % m.num_attention_heads == 0) return {};
    return fmt::format(
        "{} is not a multiple of model.num_attention_heads {}, and model.head_dim is not given; {} "
        "would do",
        m.hidden_size, m.num_attention_heads,
        nearest_multiples(m.num_attention_heads, m.hidden_size));
  });
  d.check({"model.num_query_groups", "model.num_attention_heads"}, [&] {
    return divides(m.num_query_groups, "model.num_attention_heads", m.num_attention_heads);
  });
  d.check({"model.head_dim", "model.family"}, [&]() -> Problem {
    if (m.family == Family::kGpt || m.head_dim % 2 == 0) return {};
    return fmt::format("{} is odd, and rope turns pairs; {} would do", m.head_dim,
                       nearest_multiples(2, m.head_dim));
  });
  d.check({"model.num_attention_heads", "model.num_query_groups", "model.head_dim"},
          [&]() -> Problem {
            const int64_t heads = m.num_attention_heads + 2 * m.num_query_groups;
            const int64_t most = std::numeric_limits<int32_t>::max() / heads;
            if (m.head_dim <= most) return {};
            return fmt::format(
                "{} with model.head_dim {} and model.num_query_groups {} makes more than "
                "2147483647 rows of one matrix; model.head_dim up to {} would do",
                m.num_attention_heads, m.head_dim, m.num_query_groups, most);
          });
  d.check({"model.num_layers", "model.hidden_size", "model.ffn_hidden_size", "model.vocab_size",
           "model.num_attention_heads", "model.head_dim", "model.moe.num_experts",
           "model.moe.ffn_hidden_size"},
          [&]() -> Problem {
            constexpr double kMost = 1e15;
            const double h = static_cast<double>(m.hidden_size);
            const double attention = 4.0 * h * static_cast<double>(m.num_attention_heads) *
                                     static_cast<double>(m.head_dim);
            const double experts = static_cast<double>(std::max<int64_t>(1, m.moe.num_experts));
            const double mlp =
                3.0 * h * experts *
                static_cast<double>(std::max(m.ffn_hidden_size, m.moe.ffn_hidden_size));
            const double total = static_cast<double>(m.num_layers) * (attention + mlp) +
                                 2.0 * h * static_cast<double>(m.vocab_size);
            if (total <= kMost) return {};
            return fmt::format(
                "{} of model.hidden_size {} would make about {:.1e} parameters, more than {:.0e}; "
                "smaller sizes would do",
                counted(m.num_layers, "layer"), m.hidden_size, total, kMost);
          });
}

// A key that its family has no use for must keep its default.
template <typename T>
void check_unused(Draft& d, std::string_view key, const T& value, const T& fallback,
                  std::string_view needs, bool used) {
  d.check({key, "model.family"}, [&]() -> Problem {
    if (used || value == fallback) return {};
    return fmt::format("has no effect in model.family {}, {}; leave it out",
                       to_string(d.recipe().model.family), needs);
  });
}

void check_family(Draft& d) {
  const ModelConfig& m = d.recipe().model;
  const bool gpt = m.family == Family::kGpt;
  d.check({"model.activation", "model.family"}, [&]() -> Problem {
    if (gpt == (m.activation != Activation::kSwiglu)) return {};
    return fmt::format("{} is not what model.family {} computes; {} would do",
                       to_string(m.activation), to_string(m.family),
                       gpt ? "gelu or gelu_tanh" : "swiglu");
  });
  const ModelConfig fallback;
  constexpr std::string_view kLearned = "whose positions are learned";
  check_unused(d, "model.rotary_base", m.rotary_base, fallback.rotary_base, kLearned, !gpt);
  check_unused(d, "model.rope_scaling.type", m.rope_scaling.type, RopeScalingType::kNone, kLearned,
               !gpt);
  d.check({"model.rope_scaling.type", "model.rope_scaling.factor",
           "model.rope_scaling.low_freq_factor", "model.rope_scaling.high_freq_factor",
           "model.rope_scaling.original_max_position_embeddings"},
          [&]() -> Problem {
            RopeScaling unscaled;
            if (m.rope_scaling.type == RopeScalingType::kNone && m.rope_scaling != unscaled)
              return "none, but its factors are given; llama3 would do";
            if (m.rope_scaling.low_freq_factor < m.rope_scaling.high_freq_factor) return {};
            return fmt::format(
                "model.rope_scaling.low_freq_factor {} is not below "
                "model.rope_scaling.high_freq_factor {}; 1 and 4 would do",
                format_number(m.rope_scaling.low_freq_factor),
                format_number(m.rope_scaling.high_freq_factor));
          });
}

void check_experts(Draft& d) {
  const ModelConfig& m = d.recipe().model;
  const ParallelConfig& p = d.recipe().parallel;
  const bool moe = m.moe.num_experts > 0;
  d.check({"model.moe.num_experts", "model.family"}, [&]() -> Problem {
    if (m.family == Family::kMixtral && !moe)
      return "0, but model.family mixtral has experts; 8 would do, or model.family llama";
    if (m.family != Family::kMixtral && moe)
      return fmt::format("{}, but model.family {} is dense; 0 would do, or model.family mixtral",
                         m.moe.num_experts, to_string(m.family));
    return {};
  });
  const MoeConfig fallback;
  const bool used = moe || m.family == Family::kMixtral;
  constexpr std::string_view kDense = "which is dense";
  check_unused(d, "model.moe.top_k", m.moe.top_k, fallback.top_k, kDense, used);
  check_unused(d, "model.moe.ffn_hidden_size", m.moe.ffn_hidden_size, m.ffn_hidden_size, kDense,
               used);
  check_unused(d, "model.moe.router_pre_softmax", m.moe.router_pre_softmax,
               fallback.router_pre_softmax, kDense, used);
  check_unused(d, "model.moe.aux_loss_coeff", m.moe.aux_loss_coeff, fallback.aux_loss_coeff, kDense,
               used);
  check_unused(d, "model.moe.z_loss_coeff", m.moe.z_loss_coeff, fallback.z_loss_coeff, kDense,
               used);
  check_unused(d, "model.moe.capacity_factor", m.moe.capacity_factor, fallback.capacity_factor,
               kDense, used);
  check_unused(d, "model.moe.router_bias_update_rate", m.moe.router_bias_update_rate,
               fallback.router_bias_update_rate, kDense, used);
  d.check({"model.moe.top_k", "model.moe.num_experts"}, [&]() -> Problem {
    if (!moe || m.moe.top_k <= m.moe.num_experts) return {};
    return fmt::format("{} is more than model.moe.num_experts {}; 1 to {} would do", m.moe.top_k,
                       m.moe.num_experts, m.moe.num_experts);
  });
  d.check({"parallel.ep_size", "model.moe.num_experts"}, [&]() -> Problem {
    if (moe) return divides(p.ep_size, "model.moe.num_experts", m.moe.num_experts);
    if (p.ep_size == 1) return {};
    return fmt::format("{} needs experts, and model.moe.num_experts is 0; 1 would do", p.ep_size);
  });
  d.check({"parallel.etp_size", "parallel.tp_size", "model.moe.num_experts"}, [&]() -> Problem {
    if (moe || p.etp_size == p.tp_size) return {};
    return fmt::format(
        "{} differs from parallel.tp_size {} and needs experts, and model.moe.num_experts is 0; {} "
        "would do",
        p.etp_size, p.tp_size, p.tp_size);
  });
  d.check({"parallel.etp_size", "model.moe.ffn_hidden_size", "model.moe.num_experts"},
          [&]() -> Problem {
            if (!moe) return {};
            return divides(p.etp_size, "model.moe.ffn_hidden_size", m.moe.ffn_hidden_size);
          });
}

}  // namespace

void check_model_rules(Draft& draft) {
  check_shapes(draft);
  check_family(draft);
  check_experts(draft);
}

}  // namespace nemo
