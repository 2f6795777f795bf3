#include "lib/train/metrics.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "tests/lib/train/decode_events.h"
#include "tests/support/files.h"

using namespace nemo;
namespace fs = std::filesystem;

namespace {

std::vector<nlohmann::json> lines_of(const fs::path& path) {
  std::vector<nlohmann::json> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(nlohmann::json::parse(line));
  return lines;
}

}  // namespace

TEST_CASE("every event is one line with the fields the contract names") {
  const test::TempFolder folder;
  {
    MetricsWriter writer(folder.path(), /*tensorboard=*/false);
    StartRecord start{};
    start.mesh = {{"tp", 1}, {"dp", 2}};
    start.ranks = {{0, "h", 7}, {1, "g", 8}};
    start.first_step = 1;
    writer.write(start);
    StepRecord step{};
    step.step = 3;
    step.loss = 0.1 + 0.2;
    step.grad_norm = std::numeric_limits<double>::quiet_NaN();
    step.mfu_full = 0.5;
    writer.write(step);
    CHECK(writer.last_step() == 3);
    writer.write(EvalRecord{3, 1.5, 4096});
    writer.write(EndRecord{3, "max_steps", 0, 12.5});
  }
  const auto lines = lines_of(folder / "metrics.jsonl");
  CHECK_FALSE(fs::exists(folder / "tensorboard"));
  REQUIRE(lines.size() == 4);
  CHECK(lines[0]["event"] == "start");
  CHECK(lines[0]["mesh"]["dp"] == 2);
  CHECK(lines[0]["ranks"] ==
        nlohmann::json::parse(R"([{"rank":0,"host":"h","pid":7},{"rank":1,"host":"g","pid":8}])"));
  for (const char* key : {"time", "version", "world", "num_parameters", "num_active_parameters",
                          "predicted_peak_memory_bytes", "first_step"})
    CHECK(lines[0].contains(key));
  CHECK(lines[1]["event"] == "step");
  CHECK(lines[1]["loss"].get<double>() == 0.1 + 0.2);
  CHECK(lines[1]["grad_norm"].is_null());
  CHECK(lines[1]["mfu_causal"].is_null());
  CHECK(lines[1]["mfu_full"] == 0.5);
  for (const char* key :
       {"lr", "consumed_samples", "consumed_tokens", "step_time_s", "tokens_per_s",
        "peak_memory_bytes", "loss_scale", "skipped", "since_start_s"})
    CHECK(lines[1].contains(key));
  CHECK(lines[2] ==
        nlohmann::json::parse(R"({"event":"eval","step":3,"loss":1.5,"num_tokens":4096})"));
  CHECK(lines[3] ==
        nlohmann::json::parse(
            R"({"event":"end","step":3,"reason":"max_steps","exit_code":0,"wall_time_s":12.5})"));
}

TEST_CASE("tensorboard holds the figures of every step and evaluation line") {
  const test::TempFolder folder;
  {
    MetricsWriter writer(folder.path(), /*tensorboard=*/true);
    StartRecord start{};
    start.ranks = {{0, "h", 7}};
    start.first_step = 3;
    writer.write(start);
    StepRecord step{};
    step.step = 3;
    step.loss = 0.1 + 0.2;
    step.grad_norm = 1.25;
    step.lr = 3e-4;
    step.consumed_samples = 24;
    step.consumed_tokens = 384;
    step.step_time_s = 0.5;
    step.tokens_per_s = 256;
    step.mfu_full = 0.375;
    step.peak_memory_bytes = int64_t{1} << 40;
    step.loss_scale = 65536;
    step.skipped = true;
    step.since_start_s = 9.75;
    writer.write(step);
    writer.write(EvalRecord{3, 1.5, 4096});
    writer.write(EndRecord{3, "max_steps", 0, 12.5});
  }
  std::vector<fs::path> files(fs::directory_iterator(folder / "tensorboard"), {});
  REQUIRE(files.size() == 1);
  const std::vector<test::Event> events = test::decode_events(test::read_file(files[0]));
  REQUIRE(events.size() == 4);
  CHECK(events[1].start);
  CHECK(events[1].step == 3);
  std::map<std::string, float> expected;
  const nlohmann::json line = lines_of(folder / "metrics.jsonl").at(1);
  for (const auto& [key, value] : line.items())
    if (value.is_boolean())
      expected["train/" + key] = value ? 1 : 0;
    else if (value.is_number() && key != "step")
      expected["train/" + key] = static_cast<float>(value.get<double>());
  CHECK(expected.size() == 12);  // all but mfu_causal, which is not known
  CHECK(expected.at("train/skipped") == 1);
  CHECK(events[2].step == 3);
  CHECK(events[2].figures == expected);
  CHECK(events[3].step == 3);
  CHECK(events[3].figures == std::map<std::string, float>{{"eval/loss", 1.5f}});
}

TEST_CASE("a start record that cannot be written is a usage error, another a data error") {
  const test::TempFolder folder;
  fs::create_symlink("/dev/full", folder / "metrics.jsonl");
  MetricsWriter writer(folder.path(), /*tensorboard=*/false);
  const auto code_of = [&](const auto& record) {
    try {
      writer.write(record);
    } catch (const UserError& e) {
      return e.code();
    }
    return ExitCode::kOk;
  };
  CHECK(code_of(StartRecord{}) == ExitCode::kUsage);
  StepRecord step{};
  step.step = 1;
  CHECK(code_of(step) == ExitCode::kData);
  CHECK(code_of(EvalRecord{}) == ExitCode::kData);
  CHECK(code_of(EndRecord{}) == ExitCode::kData);
  CHECK(writer.last_step() == 0);
}
