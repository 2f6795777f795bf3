// What a run says of itself. metrics.jsonl: one JSON object a line, each line flushed; numbers
// round-trip; a number that is not finite, or not known, is null. tensorboard/: the figures of the
// same lines, as train/<field> and eval/loss; one that is not known is left out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "lib/comm/store/job.h"
#include "lib/train/event_file.h"
#include "lib/train/moe_figures.h"
#include "lib/train/run_file.h"

namespace nemo {

struct StartRecord {
  std::string time;  // ISO 8601, UTC
  std::string version;
  std::vector<std::pair<std::string, int64_t>> mesh;
  int64_t num_parameters;
  int64_t num_active_parameters;
  int64_t predicted_peak_memory_bytes;
  int64_t first_step;
  std::vector<Member> ranks;  // in order
};

struct StepRecord {
  int64_t step;  // from 1
  double loss;
  double grad_norm;  // before clipping
  double lr;
  int64_t consumed_samples;  // after the step
  int64_t consumed_tokens;
  double step_time_s;
  double tokens_per_s;  // over all ranks
  std::optional<double> mfu_causal;
  std::optional<double> mfu_full;
  int64_t peak_memory_bytes;  // the largest rank's so far
  double loss_scale;
  bool skipped;
  double since_start_s;           // since the process began
  std::optional<MoeFigures> moe;  // of a model with experts
};

// Calls field(name, value) for every field in order.
template <typename Field>
void visit(const StepRecord& r, Field&& field) {
  field("step", r.step);
  field("loss", r.loss);
  field("grad_norm", r.grad_norm);
  field("lr", r.lr);
  field("consumed_samples", r.consumed_samples);
  field("consumed_tokens", r.consumed_tokens);
  field("step_time_s", r.step_time_s);
  field("tokens_per_s", r.tokens_per_s);
  field("mfu_causal", r.mfu_causal);
  field("mfu_full", r.mfu_full);
  field("peak_memory_bytes", r.peak_memory_bytes);
  field("loss_scale", r.loss_scale);
  field("skipped", r.skipped);
  field("since_start_s", r.since_start_s);
  if (!r.moe) return;
  field("moe_aux_loss", r.moe->aux_loss);
  field("moe_z_loss", r.moe->z_loss);
  field("moe_max_over_mean", r.moe->max_over_mean);
  field("moe_dropped", r.moe->dropped);
  field("moe_entropy", r.moe->entropy);
}

struct EvalRecord {
  int64_t step;
  double loss;
  int64_t num_tokens;
};

struct EndRecord {
  int64_t step;
  std::string reason;  // max_steps, signal, diverged, error
  int exit_code;
  double wall_time_s;
};

// What cannot be written is a usage error up to the start record, because training has not begun,
// and a data error after it.
class MetricsWriter {
 public:
  // Appends to the folder's metrics.jsonl.
  MetricsWriter(const std::filesystem::path& folder, bool tensorboard);

  // Comes first; begins a new event file in tensorboard/.
  void write(const StartRecord& record);
  void write(const StepRecord& record);
  void write(const EvalRecord& record);
  // A data error also where the file has been removed or replaced since.
  void write(const EndRecord& record);

  // Of the last StepRecord written, 0 before the first.
  int64_t last_step() const { return last_step_; }

 private:
  std::filesystem::path folder_;
  RunFile file_;
  bool tensorboard_;
  std::optional<EventFile> events_;
  int64_t last_step_ = 0;
};

// "2026-01-31T12:00:00Z"
std::string utc_now();

}  // namespace nemo
