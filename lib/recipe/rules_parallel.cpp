// Rules over the parallel layout and what it splits.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "lib/core/counted.h"
#include "lib/recipe/rules.h"

namespace nemo {
namespace {

void check_tensor_parallel(Draft& d) {
  const Recipe& r = d.recipe();
  const ModelConfig& m = r.model;
  const int64_t tp = r.parallel.tp_size;
  d.check({"parallel.tp_size", "model.num_attention_heads"},
          [&] { return divides(tp, "model.num_attention_heads", m.num_attention_heads); });
  d.check({"parallel.tp_size", "model.num_query_groups"}, [&]() -> Problem {
    if (tp % m.num_query_groups == 0) return {};
    const bool fewer = tp < m.num_query_groups;
    if (m.num_query_groups % tp == 0) return {};
    return fmt::format(
        "{} neither divides model.num_query_groups {} nor is a multiple of it; {} would do", tp,
        m.num_query_groups,
        fewer ? nearest_divisors(m.num_query_groups, tp)
              : nearest_multiples(m.num_query_groups, tp));
  });
  d.check({"parallel.tp_size", "model.ffn_hidden_size", "model.moe.num_experts"}, [&]() -> Problem {
    if (m.moe.num_experts > 0) return {};
    return divides(tp, "model.ffn_hidden_size", m.ffn_hidden_size);
  });
  d.check({"parallel.sequence_parallel", "parallel.tp_size"}, [&]() -> Problem {
    if (!r.parallel.sequence_parallel || tp > 1) return {};
    return "true needs parallel.tp_size above 1, not 1; false would do";
  });
  d.check({"parallel.sequence_parallel", "parallel.tp_size", "model.moe.num_experts"},
          [&]() -> Problem {
            if (r.parallel.sequence_parallel || tp == 1 || m.moe.num_experts == 0) return {};
            return fmt::format(
                "false, but model.moe.num_experts {} with parallel.tp_size {} needs it; true would "
                "do",
                m.moe.num_experts, tp);
          });
}

void check_sequence(Draft& d) {
  const Recipe& r = d.recipe();
  const int64_t seq = r.data.seq_length;
  const int64_t tp = r.parallel.tp_size;
  const int64_t cp = r.parallel.cp_size;
  d.check({"data.seq_length", "parallel.cp_size"}, [&]() -> Problem {
    if (cp == 1 || seq % (2 * cp) == 0) return {};
    return fmt::format("{} is not a multiple of 2 * parallel.cp_size {} = {}; {} would do", seq, cp,
                       2 * cp, nearest_multiples(2 * cp, seq));
  });
  d.check({"data.seq_length", "parallel.sequence_parallel", "parallel.tp_size", "parallel.cp_size"},
          [&]() -> Problem {
            if (!r.parallel.sequence_parallel || tp == 1 || seq % cp != 0 || seq / cp % tp == 0)
              return {};
            return fmt::format(
                "{} / parallel.cp_size {} = {} is not a multiple of parallel.tp_size {} "
                "under parallel.sequence_parallel; {} would do",
                seq, cp, seq / cp, tp, nearest_multiples(cp * std::lcm(tp, cp == 1 ? 1 : 2), seq));
          });
  // Rows of a matrix are counted in 32 bits; experts have a row for each choice of a token.
  d.check({"data.micro_batch_size", "data.seq_length", "parallel.cp_size", "model.moe.num_experts",
           "model.moe.top_k"},
          [&]() -> Problem {
            const int64_t choices = r.model.moe.num_experts > 0 ? r.model.moe.top_k : 1;
            const int64_t sample = (seq + cp - 1) / cp * choices;
            const int64_t most = std::numeric_limits<int32_t>::max() / sample;
            if (r.data.micro_batch_size <= most) return {};
            return fmt::format(
                "{} samples of data.seq_length {} make more than 2147483647 rows on a rank; {} "
                "would do",
                r.data.micro_batch_size, seq,
                most > 0 ? fmt::format("up to {}", most) : "a larger parallel.cp_size");
          });
  d.check({"data.seq_length", "model.max_position_embeddings"}, [&]() -> Problem {
    if (!r.model.max_position_embeddings || seq <= *r.model.max_position_embeddings) return {};
    return fmt::format("{} is more than model.max_position_embeddings {}; up to {} would do", seq,
                       *r.model.max_position_embeddings, *r.model.max_position_embeddings);
  });
  d.check({"parallel.cp_size", "parallel.cp_comm_type", "parallel.tp_size",
           "model.num_attention_heads", "model.num_query_groups"},
          [&]() -> Problem {
            if (cp == 1 || r.parallel.cp_comm_type != CpCommType::kA2A) return {};
            const int64_t heads = std::max<int64_t>(1, r.model.num_attention_heads / tp);
            const int64_t kv_heads = std::max<int64_t>(1, r.model.num_query_groups / tp);
            if (heads % cp == 0 && kv_heads % cp == 0) return {};
            return fmt::format(
                "{} does not divide the heads of one tp rank under parallel.cp_comm_type a2a "
                "(model.num_attention_heads {} and model.num_query_groups {} / parallel.tp_size {} "
                "= {} and {}); {} would do, or p2p",
                cp, r.model.num_attention_heads, r.model.num_query_groups, tp, heads, kv_heads,
                nearest_divisors(std::gcd(heads, kv_heads), cp));
          });
}

// Whether the layers can be laid out over pp * vpp stages in the way asked for.
Problem layout_problem(const Recipe& r) {
  const ParallelConfig& p = r.parallel;
  const int64_t layers = r.model.num_layers;
  const int64_t stages = p.pp_size * p.vpp_size;
  const std::string of_stages =
      fmt::format("parallel.pp_size {} * parallel.vpp_size {} = {}", p.pp_size, p.vpp_size, stages);
  const auto listed = static_cast<int64_t>(p.pp_layout.layers.size());
  switch (p.pp_layout.kind) {
    case PpLayout::Kind::kEven:
      if (layers % stages == 0) return {};
      return fmt::format(
          "even, but model.num_layers {} is not a multiple of {}; model.num_layers {}{} would do",
          layers, of_stages, nearest_multiples(stages, layers),
          layers > stages ? ", or auto," : "");
    case PpLayout::Kind::kAuto:
      if (layers >= stages) return {};
      return fmt::format(
          "auto, but model.num_layers {} are fewer than {} stages; model.num_layers {} would do",
          layers, of_stages, stages);
    case PpLayout::Kind::kList:
      break;
  }
  if (listed != stages)
    return fmt::format("lists {}, not {}; {} would do", counted(listed, "stage"), of_stages,
                       counted(stages, "number"));
  const int64_t sum =
      std::accumulate(p.pp_layout.layers.begin(), p.pp_layout.layers.end(), int64_t{0});
  if (sum == layers) return {};
  return fmt::format("[{}] sums to {}, not model.num_layers {}; numbers that sum to {} would do",
                     fmt::join(p.pp_layout.layers, ", "), sum, layers, layers);
}

void check_pipeline(Draft& d) {
  const Recipe& r = d.recipe();
  const ParallelConfig& p = r.parallel;
  d.check({"parallel.pp_layout", "model.num_layers", "parallel.pp_size", "parallel.vpp_size"},
          [&] { return layout_problem(r); });
  d.check({"parallel.vpp_size", "parallel.pp_size"}, [&]() -> Problem {
    if (p.vpp_size == 1 || p.pp_size > 1) return {};
    return fmt::format("{} needs parallel.pp_size above 1, not 1; 1 would do", p.vpp_size);
  });
  d.check({"parallel.vpp_size", "parallel.pp_schedule"}, [&]() -> Problem {
    if (p.vpp_size == 1 || p.pp_schedule == PipelineSchedule::k1F1B) return {};
    return fmt::format("{} needs parallel.pp_schedule 1f1b, not {}; 1 would do", p.vpp_size,
                       to_string(p.pp_schedule));
  });
  d.check({"parallel.microbatch_group_size", "parallel.vpp_size", "parallel.pp_size"},
          [&]() -> Problem {
            if (p.vpp_size > 1 || p.microbatch_group_size == p.pp_size) return {};
            return fmt::format(
                "{} has no effect where parallel.vpp_size is 1 and parallel.pp_size {}; leave it "
                "out",
                p.microbatch_group_size, p.pp_size);
          });
}

// pp <= g <= m, and the last group is whole or still fills the pipeline.
bool group_is_legal(int64_t group, int64_t pp, int64_t microbatches) {
  return pp <= group && group <= microbatches &&
         (microbatches % group == 0 || microbatches % group >= pp);
}

std::string legal_groups(int64_t around, int64_t pp, int64_t microbatches) {
  int64_t below = std::min(around, microbatches);
  while (below >= pp && !group_is_legal(below, pp, microbatches)) --below;
  int64_t above = std::max(around, pp);
  while (above <= microbatches && !group_is_legal(above, pp, microbatches)) ++above;
  if (below < pp && above > microbatches)
    return fmt::format("parallel.vpp_size 1, or at least {} micro batches, would do", pp);
  if (below < pp) return fmt::format("{} would do", above);
  if (above > microbatches) return fmt::format("{} would do", below);
  return fmt::format("{} or {} would do", below, above);
}

void check_batch(Draft& d) {
  const Recipe& r = d.recipe();
  const DataConfig& data = r.data;
  const ParallelConfig& p = r.parallel;
  bool even = false;
  d.check({"data.global_batch_size", "data.micro_batch_size", "parallel.dp_size"},
          [&]() -> Problem {
            const int64_t at_once = data.micro_batch_size * p.dp_size;
            even = data.global_batch_size % at_once == 0;
            if (even) return {};
            return fmt::format(
                "{} is not a multiple of data.micro_batch_size {} * parallel.dp_size {} = {}; {} "
                "would do",
                data.global_batch_size, data.micro_batch_size, p.dp_size, at_once,
                nearest_multiples(at_once, data.global_batch_size));
          });
  if (!even) return;
  const int64_t microbatches = data.global_batch_size / (data.micro_batch_size * p.dp_size);
  d.sizes().num_microbatches = microbatches;
  d.check(
      {"parallel.microbatch_group_size", "parallel.vpp_size", "parallel.pp_size",
       "data.global_batch_size"},
      [&]() -> Problem {
        const int64_t group = p.microbatch_group_size;
        if (p.vpp_size == 1 || p.pp_size == 1 || group_is_legal(group, p.pp_size, microbatches))
          return {};
        return fmt::format(
            "{} does not suit parallel.pp_size {} and num_microbatches {} (data.global_batch_size "
            "{} / (data.micro_batch_size {} * parallel.dp_size {})): the last group must be "
            "whole or at least parallel.pp_size; {}",
            group, p.pp_size, microbatches, data.global_batch_size, data.micro_batch_size,
            p.dp_size, legal_groups(group, p.pp_size, microbatches));
      });
}

// The expert grid must fill the same ranks as the dense one, inside each replica.
void check_expert_grid(Draft& d) {
  const ParallelConfig& p = d.recipe().parallel;
  if (d.recipe().model.moe.num_experts == 0) {  // no expert to place: the grid of the dense model
    d.sizes().edp = d.sizes().cp * d.sizes().dp;
    return;
  }
  bool fits = false;
  d.check(
      {"parallel.ep_size", "parallel.etp_size", "parallel.tp_size", "parallel.cp_size",
       "parallel.dp_size", "parallel.dp_replicate_size"},
      [&]() -> Problem {
        const int64_t ranks = p.tp_size * p.cp_size * (p.dp_size / p.dp_replicate_size);
        fits = ranks % (p.etp_size * p.ep_size) == 0;
        if (fits) return {};
        const std::string would_do =
            ranks % p.etp_size == 0
                ? fmt::format("{} would do", nearest_divisors(ranks / p.etp_size, p.ep_size))
                : fmt::format("parallel.etp_size {} would do", nearest_divisors(ranks, p.etp_size));
        return fmt::format(
            "parallel.etp_size {} * parallel.ep_size {} = {} does not divide parallel.tp_size {} "
            "* parallel.cp_size {} * dp_shard {} = {}; {}",
            p.etp_size, p.ep_size, p.etp_size * p.ep_size, p.tp_size, p.cp_size,
            p.dp_size / p.dp_replicate_size, ranks, would_do);
      });
  if (fits) d.sizes().edp = p.tp_size * p.cp_size * p.dp_size / (p.etp_size * p.ep_size);
}

void check_strategy(Draft& d) {
  const ParallelConfig& p = d.recipe().parallel;
  d.check({"parallel.strategy", "parallel.sharding_strategy"}, [&]() -> Problem {
    if (p.strategy != Strategy::kDdp || p.sharding_strategy == ShardingStrategy::kNoShard)
      return {};
    return fmt::format(
        "ddp shards nothing, but parallel.sharding_strategy is {}; NO_SHARD would do, or "
        "parallel.strategy fsdp2",
        to_string(p.sharding_strategy));
  });
  d.check({"parallel.strategy", "parallel.distributed_optimizer"}, [&]() -> Problem {
    if (p.strategy != Strategy::kDdp || !p.distributed_optimizer) return {};
    return "ddp shards nothing, but parallel.distributed_optimizer is true; false would do, or "
           "parallel.strategy megatron";
  });
  d.check(
      {"parallel.cpu_offload", "parallel.sharding_strategy", "parallel.distributed_optimizer"},
      [&]() -> Problem {
        if (!p.cpu_offload || p.distributed_optimizer ||
            p.sharding_strategy != ShardingStrategy::kNoShard)
          return {};
        return "true moves what is sharded to the host, but parallel.sharding_strategy is NO_SHARD "
               "and parallel.distributed_optimizer false; false would do, or "
               "parallel.distributed_optimizer true";
      });
}

}  // namespace

void check_parallel_rules(Draft& draft) {
  check_tensor_parallel(draft);
  check_sequence(draft);
  check_pipeline(draft);
  check_expert_grid(draft);
  check_batch(draft);
  check_strategy(draft);
}

}  // namespace nemo
