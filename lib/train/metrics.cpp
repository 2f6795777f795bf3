#include "lib/train/metrics.h"

#include <ctime>
#include <nlohmann/json.hpp>

#include "lib/core/error.h"

namespace nemo {

using Json = nlohmann::ordered_json;

namespace {

Json json_of(const auto& value) {
  return value;
}
Json json_of(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

std::optional<double> figure_of(auto value) {
  return static_cast<double>(value);
}
std::optional<double> figure_of(const std::optional<double>& value) {
  return value;
}

}  // namespace

MetricsWriter::MetricsWriter(const std::filesystem::path& folder, bool tensorboard)
    : folder_(folder), file_(folder / "metrics.jsonl", std::ios::app), tensorboard_(tensorboard) {
  if (!file_)
    throw_usage("[log.dir] cannot write metrics.jsonl in {}; choose a folder that is writable",
                folder.string());
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
  if (tensorboard_) events_.emplace(folder_ / "tensorboard", r.host, r.pid, r.first_step);
}

void MetricsWriter::write(const StepRecord& r) {
  last_step_ = r.step;
  Json line{{"event", "step"}};
  visit(r, [&](const char* name, const auto& value) { line[name] = json_of(value); });
  write_line(line.dump());
  if (!events_) return;
  visit(r, [&](std::string_view name, const auto& value) {
    const std::optional<double> figure = figure_of(value);
    if (figure && name != "step") events_->add("train", name, *figure);
  });
  events_->write(r.step);
}

void MetricsWriter::write(const EvalRecord& r) {
  write_line(
      Json{{"event", "eval"}, {"step", r.step}, {"loss", r.loss}, {"num_tokens", r.num_tokens}}
          .dump());
  if (!events_) return;
  events_->add("eval", "loss", r.loss);
  events_->write(r.step);
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
  if (!file_)
    throw_usage("[log.dir] writing metrics.jsonl in {} failed; is the disk full?",
                folder_.string());
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
