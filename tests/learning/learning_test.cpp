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
