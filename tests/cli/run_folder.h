// The folder of one small training run, and what the run wrote into it.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "tests/cli/run_program.h"

namespace nemo {

class RunFolder {
 public:
  // Does not exist before the run.
  const std::filesystem::path& path() const { return path_; }

  // Command line of a run of a few milliseconds a step into this folder, on made-up data.
  std::string pretrain(const std::string& overrides = "") const {
    return "pretrain --recipe llama_tiny model.num_layers=1 model.hidden_size=32 "
           "model.ffn_hidden_size=32 data.kind=mock data.seq_length=16 data.global_batch_size=8 "
           "data.micro_batch_size=2 trainer.max_steps=3 trainer.val_check_interval=0 "
           "trainer.threads_per_rank=1 optim.warmup_steps=0 log.dir='" +
           path_.string() + "' " + overrides;
  }

  // The whole lines of metrics.jsonl, of one event or of all.
  std::vector<nlohmann::json> lines(const std::string& event = "") const {
    std::vector<nlohmann::json> lines;
    std::istringstream text(test::read_file(path_ / "metrics.jsonl"));
    for (std::string line; std::getline(text, line) && !text.eof();) {
      nlohmann::json json = nlohmann::json::parse(line);
      if (event.empty() || json["event"] == event) lines.push_back(std::move(json));
    }
    return lines;
  }

  std::vector<std::string> events() const {
    std::vector<std::string> events;
    for (const auto& line : lines()) events.push_back(line["event"]);
    return events;
  }

  // What training computed, bit for bit: loss, gradient norm and learning rate of each step.
  std::string curve() const {
    std::string curve;
    for (const auto& step : lines("step"))
      curve += nlohmann::json{step["step"], step["loss"], step["grad_norm"], step["lr"]}.dump();
    return curve;
  }

 private:
  test::TempFolder around_;
  std::filesystem::path path_ = around_ / "run";
};

}  // namespace nemo
