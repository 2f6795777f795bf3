#include "lib/recipe/runnable.h"

#include <fmt/format.h>

namespace nemo {

std::vector<std::string> not_runnable(const ResolvedRecipe& resolved) {
  const Recipe& r = resolved.recipe;
  const ParallelConfig& p = r.parallel;
  std::vector<std::string> lines;
  const auto need = [&lines](bool runs, std::string_view key, const auto& value,
                             std::string_view today) {
    if (!runs)
      lines.push_back(fmt::format("{}: {} cannot run yet; {} would do", key, value, today));
  };
  need(r.trainer.accelerator == Accelerator::kCpu, "trainer.accelerator",
       to_string(r.trainer.accelerator), "cpu");
  need(r.trainer.accelerator != Accelerator::kCpu || r.trainer.devices <= kMaxHostRanks,
       "trainer.devices", r.trainer.devices, fmt::format("1 to {}", kMaxHostRanks));
  const PrecisionConfig& q = r.precision;
  need(r.trainer.precision == PrecisionPreset::k32, "trainer.precision",
       to_string(r.trainer.precision), "32");
  need(q.param_dtype == DType::kF32, "precision.param_dtype", to_string(q.param_dtype), "fp32");
  need(q.reduce_dtype == DType::kF32, "precision.reduce_dtype", to_string(q.reduce_dtype), "fp32");
  need(q.output_dtype == DType::kF32, "precision.output_dtype", to_string(q.output_dtype), "fp32");
  need(q.buffer_dtype == DType::kF32, "precision.buffer_dtype", to_string(q.buffer_dtype), "fp32");
  need(p.cp_size == 1, "parallel.cp_size", p.cp_size, "1");
  need(p.pp_size == 1, "parallel.pp_size", p.pp_size, "1");
  need(p.ep_size == 1, "parallel.ep_size", p.ep_size, "1");
  need(p.dp_replicate_size == 1, "parallel.dp_replicate_size", p.dp_replicate_size, "1");
  need(p.sharding_strategy == ShardingStrategy::kNoShard, "parallel.sharding_strategy",
       to_string(p.sharding_strategy), "NO_SHARD");
  need(!p.distributed_optimizer, "parallel.distributed_optimizer", "true", "false");
  need(!p.overlap_param_gather, "parallel.overlap_param_gather", "true", "false");
  need(!p.cpu_offload, "parallel.cpu_offload", "true", "false");
  need(p.recompute == Recompute::kNone, "parallel.recompute", to_string(p.recompute), "none");
  need(r.data.kind != DataKind::kJsonl, "data.kind", to_string(r.data.kind),
       "text, mock, megatron or llmc");
  need(r.data.tokenizer == "bytes", "data.tokenizer", r.data.tokenizer, "bytes");
  need(r.model.family != Family::kMixtral, "model.family", to_string(r.model.family),
       "llama or gpt");
  need(r.checkpoint.every == 0, "checkpoint.every", r.checkpoint.every,
       "0, which saves nothing yet,");
  need(r.checkpoint.resume == "never", "checkpoint.resume", r.checkpoint.resume, "never");
  need(!r.checkpoint.async, "checkpoint.async", "true", "false");
  need(!r.log.trace, "log.trace", "true", "false");
  return lines;
}

}  // namespace nemo
