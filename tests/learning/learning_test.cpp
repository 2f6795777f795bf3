// The quickstart's model learns its text: what it says of held-out text is better than what
// counting byte trigrams says.
#include <doctest/doctest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "lib/launch/pretrain.h"
#include "lib/recipe/shipped.h"
#include "tests/support/files.h"
#include "tests/support/trigram.h"

using namespace nemo;

namespace {

// The held-out loss after 300 steps of a small llama on real text, at a rate at which a run is not
// chaotic: another order of fp32 sums moves it by less than 1e-3.
double held_out_loss(const std::vector<std::string>& overrides) {
  const test::TempFolder folder;
  std::vector<std::string> words = {"model={num_layers: 2, hidden_size: 64, ffn_hidden_size: 176}",
                                    "data={seq_length: 64, global_batch_size: 16}",
                                    "trainer={max_steps: 300, val_check_interval: 300, "
                                    "limit_val_batches: 40, threads_per_rank: 1}",
                                    "optim={lr: 2e-3, warmup_steps: 60, schedule_steps: 300}",
                                    "log={every: 100, tensorboard: false}",
                                    "log.dir=" + folder.path().string()};
  words.insert(words.end(), overrides.begin(), overrides.end());
  const ResolvedRecipe run =
      resolve(find_shipped("llama_tiny"), words,
              {.current_folder = std::filesystem::current_path().string(), .num_cores = 2});
  const std::atomic<int> no_signal{0};
  const auto log = make_stderr_logger(false);
  CHECK(run_thread_pretrain(run, {"test", "host", no_signal, Clock::now(), *log}) == 0);
  std::ifstream file(folder / "metrics.jsonl");
  double loss = INFINITY;
  for (std::string line; std::getline(file, line);) {
    const auto event = nlohmann::json::parse(line);
    if (event["event"] == "eval") loss = event["loss"];
  }
  return loss;
}

}  // namespace

TEST_CASE("16 bits learn what fp32 learns, on one rank and on eight") {
  const double exact = held_out_loss({});
  for (const std::string precision : {"bf16-mixed", "16-mixed"})
    for (const std::string parallel :
         {"{dp_size: 1}", "{tp_size: 2, pp_size: 2, dp_size: 2, sharding_strategy: FULL_SHARD}"}) {
      const double loss = held_out_loss({"trainer.precision=" + precision, "parallel=" + parallel});
      MESSAGE(precision << " " << parallel << ": held-out loss " << loss << ", fp32 " << exact);
      CHECK(std::abs(loss - exact) < 0.02);
    }
  const double rounded = held_out_loss({"trainer.precision=bf16-true"});
  MESSAGE("bf16-true: held-out loss " << rounded << ", fp32 " << exact);
  CHECK(std::abs(rounded - exact) < 0.02);
}

TEST_CASE("llama_tiny on four ranks beats a byte-trigram model on held-out text") {
  const test::TempFolder folder;
  const std::vector<std::string> overrides = {"trainer.devices=4", "log.every=100",
                                              "trainer.limit_val_batches=1000",
                                              "log.dir=" + folder.path().string()};
  const ResolvedRecipe run =
      resolve(find_shipped("llama_tiny"), overrides,
              {.current_folder = std::filesystem::current_path().string(), .num_cores = 2});
  const std::atomic<int> no_signal{0};
  const auto log = make_stderr_logger(false);
  CHECK(run_thread_pretrain(run, {"test", "host", no_signal, Clock::now(), *log}) == 0);

  std::ifstream file(folder / "metrics.jsonl");
  double first_loss = 0, last_loss = 0, held_out = INFINITY;
  int64_t held_out_tokens = 0;
  for (std::string line; std::getline(file, line);) {
    const auto event = nlohmann::json::parse(line);
    if (event["event"] == "step") last_loss = event["loss"];
    if (event["event"] == "step" && first_loss == 0) first_loss = last_loss;
    if (event["event"] != "eval") continue;
    held_out = event["loss"];
    held_out_tokens = event["num_tokens"];
  }
  const TrigramLoss trigram = trigram_loss(run.recipe.data, run.recipe.model.vocab_size,
                                           held_out_tokens / run.recipe.data.seq_length);
  MESSAGE("held-out loss " << held_out << ", trigram " << trigram.nats << " nats per byte");
  CHECK(last_loss < first_loss / 2);
  CHECK(trigram.num_targets == held_out_tokens);
  CHECK(held_out < trigram.nats);
}
