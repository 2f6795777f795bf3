#include "lib/train/metrics.h"

#include <ctime>
#include <nlohmann/json.hpp>

#include "lib/core/error.h"

namespace nemo {

using Json = nlohmann::ordered_json;

namespace {

Json or_null(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

}  // namespace

MetricsWriter::MetricsWriter(const std::filesystem::path& path)
    : path_(path), file_(path, std::ios::app) {
  if (!file_)
    throw_usage("[log.dir] cannot write {}; choose a folder that is writable", path.string());
}

void MetricsWriter::write(const StartRecord& r) {
  Json mesh;
  for (const auto& [axis, size] : r.mesh) mesh[axis] = size;
  Json ranks = Json::array();
  for (int rank = 0; rank < r.world; ++rank)
    ranks.push_back({{"rank", rank}, {"host", r.host}, {"pid", r.pid}});
  write_line(Json{
      {"event", "start"},
      {"time", r.time},
      {"version", r.version},
      {"world", r.world},
      {"mesh", mesh},
      {"num_parameters", r.num_parameters},
      {"num_active_parameters", r.num_active_parameters},
      {"predicted_peak_memory_bytes", r.predicted_peak_memory_bytes},
      {"first_step", r.first_step},
      {"ranks",
       ranks}}.dump());
}

void MetricsWriter::write(const StepRecord& r) {
  last_step_ = r.step;
  write_line(Json{{"event", "step"},
                  {"step", r.step},
                  {"loss", r.loss},
                  {"grad_norm", r.grad_norm},
                  {"lr", r.lr},
                  {"consumed_samples", r.consumed_samples},
                  {"consumed_tokens", r.consumed_tokens},
                  {"step_time_s", r.step_time_s},
                  {"tokens_per_s", r.tokens_per_s},
                  {"mfu_causal", or_null(r.mfu_causal)},
                  {"mfu_full", or_null(r.mfu_full)},
                  {"peak_memory_bytes", r.peak_memory_bytes},
                  {"loss_scale", r.loss_scale},
                  {"skipped", r.skipped},
                  {"since_start_s", r.since_start_s}}
                 .dump());
}

void MetricsWriter::write(const EvalRecord& r) {
  write_line(
      Json{{"event", "eval"}, {"step", r.step}, {"loss", r.loss}, {"num_tokens", r.num_tokens}}
          .dump());
}

void MetricsWriter::write(const EndRecord& r) {
  write_line(Json{{"event", "end"},
                  {"step", r.step},
                  {"reason", r.reason},
                  {"exit_code", r.exit_code},
                  {"wall_time_s", r.wall_time_s}}
                 .dump());
}

void MetricsWriter::write_line(const std::string& line) {
  file_ << line << std::endl;
  if (!file_) throw_usage("[log.dir] writing {} failed; is the disk full?", path_.string());
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

}  // namespace nemo
