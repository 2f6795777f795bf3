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

std::string text_of(const Json& line) {
  return line.dump() + '\n';
}

// To a curve; figures of layers to one each.
void add_figure(EventFile& events, const std::string& name, auto value) {
  events.add("train", name, static_cast<double>(value));
}
void add_figure(EventFile& events, const std::string& name, const std::optional<double>& value) {
  if (value) events.add("train", name, *value);
}
void add_figure(EventFile& events, const std::string& name, const std::vector<double>& layers) {
  for (size_t i = 0; i < layers.size(); ++i)
    events.add("train", name + "/layer_" + std::to_string(i), layers[i]);
}

}  // namespace

MetricsWriter::MetricsWriter(const std::filesystem::path& folder, bool tensorboard)
    : folder_(folder), file_(folder / "metrics.jsonl", "log.dir"), tensorboard_(tensorboard) {}

void MetricsWriter::write(const StartRecord& r) {
  Json mesh;
  for (const auto& [axis, size] : r.mesh) mesh[axis] = size;
  Json ranks = Json::array();
  for (const Member& member : r.ranks)
    ranks.push_back({{"rank", member.rank}, {"host", member.host}, {"pid", member.pid}});
  const Json line = {{"event", "start"},
                     {"time", r.time},
                     {"version", r.version},
                     {"world", ranks.size()},
                     {"mesh", mesh},
                     {"num_parameters", r.num_parameters},
                     {"num_active_parameters", r.num_active_parameters},
                     {"predicted_peak_memory_bytes", r.predicted_peak_memory_bytes},
                     {"first_step", r.first_step},
                     {"ranks", ranks}};
  file_.append(text_of(line), ExitCode::kUsage);
  if (!tensorboard_) return;
  const Member& writer = r.ranks.at(0);
  events_.emplace(folder_ / "tensorboard", writer.host, writer.pid, r.first_step);
}

void MetricsWriter::write(const StepRecord& r) {
  Json line{{"event", "step"}};
  visit(r, [&](const char* name, const auto& value) { line[name] = json_of(value); });
  file_.append(text_of(line));
  last_step_ = r.step;
  if (!events_) return;
  visit(r, [&](const std::string& name, const auto& value) {
    if (name != "step") add_figure(*events_, name, value);
  });
  events_->write(r.step);
}

void MetricsWriter::write(const EvalRecord& r) {
  file_.append(text_of(
      {{"event", "eval"}, {"step", r.step}, {"loss", r.loss}, {"num_tokens", r.num_tokens}}));
  if (!events_) return;
  events_->add("eval", "loss", r.loss);
  events_->write(r.step);
}

void MetricsWriter::write(const EndRecord& r) {
  file_.append(text_of({{"event", "end"},
                        {"step", r.step},
                        {"reason", r.reason},
                        {"exit_code", r.exit_code},
                        {"wall_time_s", r.wall_time_s}}));
  file_.check_in_place();
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
