#include "lib/recipe/runnable.h"

#include <fmt/format.h>

#include <algorithm>

namespace nemo {

std::vector<std::string> not_runnable(const ResolvedRecipe& resolved) {
  const Recipe& r = resolved.recipe;
  const ParallelConfig& p = r.parallel;
  std::vector<std::string> lines;
  const auto given = [&](std::string_view key) {
    return resolved.sources.find(key)->second.is_given();
  };
  // `causes`: what the key follows from where it is not given.
  using Keys = std::initializer_list<std::string_view>;
  const auto need = [&](bool runs, std::string_view key, const auto& value, std::string_view today,
                        Keys causes = {}) {
    if (runs) return;
    const Sources& sources = resolved.sources;
    lines.push_back(fmt::format("{}: {} cannot run yet; {} would do{}", key, value, today,
                                given(key) ? places(sources, {key}) : places(sources, causes)));
  };
  const Keys kSizes = {"parallel.dp_size", "parallel.tp_size", "parallel.cp_size",
                       "parallel.pp_size"};
  need(r.trainer.accelerator == Accelerator::kCpu, "trainer.accelerator",
       to_string(r.trainer.accelerator), "cpu");
  need(r.trainer.accelerator != Accelerator::kCpu || r.trainer.devices <= kMaxHostRanks,
       "trainer.devices", r.trainer.devices, fmt::format("1 to {}", kMaxHostRanks), kSizes);
  need(r.trainer.accelerator != Accelerator::kCpu || r.trainer.devices > kMaxHostRanks ||
           resolved.sizes.world <= kMaxHostRanks,
       "trainer.num_nodes", r.trainer.num_nodes,
       fmt::format("1 to {}", kMaxHostRanks / std::max<int64_t>(1, r.trainer.devices)), kSizes);
  constexpr int64_t kMostInFlight = 4096;
  need(
      p.pp_schedule != PipelineSchedule::kGpipe || resolved.sizes.num_microbatches <= kMostInFlight,
      "parallel.pp_schedule",
      fmt::format("gpipe with {} micro batches in flight", resolved.sizes.num_microbatches),
      fmt::format("{} of them, or 1f1b,", kMostInFlight));
  need(r.data.kind != DataKind::kJsonl, "data.kind", to_string(r.data.kind),
       "text, mock, megatron or llmc");
  need(r.data.tokenizer == "bytes" || r.data.tokenizer.empty(), "data.tokenizer", r.data.tokenizer,
       "bytes");
  need(r.checkpoint.every == 0, "checkpoint.every", r.checkpoint.every,
       "0, which saves nothing yet,");
  need(r.checkpoint.resume == "never", "checkpoint.resume", r.checkpoint.resume, "never");
  need(!r.checkpoint.async, "checkpoint.async", "true", "false");
  return lines;
}

}  // namespace nemo
