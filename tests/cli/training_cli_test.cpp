// What a training run leaves behind, as a user finds it.
#include <doctest/doctest.h>

#include <cmath>

#include "lib/device/host.h"
#include "tests/cli/run_folder.h"

using namespace nemo;

using Events = std::vector<std::string>;

TEST_CASE("three steps leave the resolved recipe and the figures of each") {
  const RunFolder folder;
  const ProgramResult r = run_program(folder.pretrain());
  CHECK(r.exit_code == 0);
  CHECK(r.out.starts_with("step 1/3  loss "));
  CHECK(r.err.find("error") == std::string::npos);
  CHECK(r.err.find(" parameters on 1 rank of one process, 1 compute thread each (") !=
        std::string::npos);
  REQUIRE(folder.events() == Events{"start", "step", "step", "step", "end"});
  const auto lines = folder.lines();
  CHECK(lines[0]["world"] == 1);
  for (int64_t step = 1; step <= 3; ++step) {
    const auto& line = lines[static_cast<size_t>(step)];
    CHECK(line["step"] == step);
    CHECK(line["consumed_samples"] == 8 * step);
    CHECK(line["consumed_tokens"] == 8 * 16 * step);
    CHECK(line["skipped"] == false);
  }
  CHECK(lines[4]["reason"] == "max_steps");
  CHECK(lines[4]["step"] == 3);
  CHECK(lines[4]["exit_code"] == 0);
}

TEST_CASE("training from the resolved recipe reproduces the run bit for bit") {
  const RunFolder first;
  const RunFolder second;
  CHECK(run_program(first.pretrain("dp_size=2 trainer.seed=7 optim.lr=1e-2")).exit_code == 0);
  const std::string recipe = (first.path() / "recipe.resolved.yaml").string();
  CHECK(
      run_program("pretrain --recipe " + recipe + " log.dir=" + second.path().string()).exit_code ==
      0);
  CHECK(first.lines("step").size() == 3);
  CHECK(second.curve() == first.curve());
}

TEST_CASE("the same command on two ranks twice gives the same figures") {
  const RunFolder folder;
  CHECK(run_program(folder.pretrain("dp_size=2")).exit_code == 0);
  const std::string curve = folder.curve();
  CHECK(folder.lines()[0]["world"] == 2);
  CHECK(run_program(folder.pretrain("dp_size=2")).exit_code == 0);
  CHECK(folder.lines("step").size() == 3);
  CHECK(folder.curve() == curve);
}

TEST_CASE("a second run moves the files of the first to previous/1") {
  const RunFolder folder;
  CHECK(run_program(folder.pretrain("trainer.max_steps=1")).exit_code == 0);
  const std::string recipe = test::read_file(folder.path() / "recipe.resolved.yaml");
  const std::string metrics = test::read_file(folder.path() / "metrics.jsonl");
  CHECK(run_program(folder.pretrain("trainer.max_steps=2")).exit_code == 0);
  CHECK(folder.events() == Events{"start", "step", "step", "end"});
  CHECK(test::read_file(folder.path() / "previous" / "1" / "recipe.resolved.yaml") == recipe);
  CHECK(test::read_file(folder.path() / "previous" / "1" / "metrics.jsonl") == metrics);
  for (const char* run : {".", "previous/1"})
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path() / run / "tensorboard"),
                        {}) == 1);
}

TEST_CASE("evaluation at its interval and at the end, the same on one rank and on two") {
  const std::string words =
      "trainer.max_steps=3 trainer.val_check_interval=2 trainer.limit_val_batches=3 ";
  const RunFolder one;
  CHECK(run_program(one.pretrain(words + "dp_size=1")).exit_code == 0);
  REQUIRE(one.events() == Events{"start", "step", "step", "eval", "step", "eval", "end"});
  for (const char* sizes : {"dp_size=2", "cp_size=2", "cp_size=2 parallel.cp_comm_type=a2a"}) {
    CAPTURE(sizes);
    const RunFolder two;
    CHECK(run_program(two.pretrain(words + sizes)).exit_code == 0);
    REQUIRE(two.events() == one.events());
    for (size_t i = 0; i < 2; ++i) {
      const auto of_one = one.lines("eval")[i];
      const auto of_two = two.lines("eval")[i];
      CHECK(of_one["step"] == (i == 0 ? 2 : 3));
      CHECK(of_one["num_tokens"] == 3 * 8 * 16);
      CHECK(of_two["num_tokens"] == of_one["num_tokens"]);
      CHECK(of_one["loss"] > 5);
      CHECK(std::abs(of_one["loss"].get<double>() - of_two["loss"].get<double>()) < 1e-6);
    }
  }
}

TEST_CASE("training starts from Hugging Face weights of the same sizes") {
  const RunFolder folder;
  const RunFolder random;
  const std::string model =
      "model.vocab_size=64 model.num_layers=2 model.ffn_hidden_size=64 model.head_dim=8 "
      "model.num_query_groups=2 ";
  const std::string init = "checkpoint.init_from=" NEMO_GOLDEN_FOLDER "/llama_gqa ";
  CHECK(run_program(random.pretrain(model)).exit_code == 0);
  CHECK(run_program(folder.pretrain(model + init)).exit_code == 0);
  CHECK(folder.lines("step").size() == 3);
  CHECK(folder.curve() != random.curve());
}

TEST_CASE("weights of another model are refused once for all ranks, before a folder is made") {
  const RunFolder folder;
  const std::string words =
      "dp_size=2 model.vocab_size=64 model.num_layers=2 model.ffn_hidden_size=48 "
      "model.num_query_groups=2 checkpoint.init_from=";
  const ProgramResult r = run_program(folder.pretrain(words + NEMO_GOLDEN_FOLDER "/llama_gqa"));
  CHECK(r.exit_code == 2);
  CHECK(r.err == "error: model.ffn_hidden_size: the recipe says 48, " NEMO_GOLDEN_FOLDER
                 "/llama_gqa/config.json says 64; model.ffn_hidden_size=64 would do\n");

  // The configuration is right, the tensors are another model's.
  const test::TempFolder mixed;
  namespace fs = std::filesystem;
  fs::copy(NEMO_GOLDEN_FOLDER "/llama_gqa/config.json", mixed.path());
  fs::copy(NEMO_GOLDEN_FOLDER "/gpt2_tanh/model.safetensors", mixed.path());
  const ProgramResult missing =
      run_program(folder.pretrain(words + mixed.path().string() + " model.ffn_hidden_size=64"));
  CHECK(missing.exit_code == 3);
  CHECK(missing.err.starts_with("error: [huggingface] " + mixed.path().string() +
                                ": expected a tensor model.embed_tokens.weight, found "));
  const ProgramResult nothing = run_program(folder.pretrain("checkpoint.init_from=/nowhere"));
  CHECK(nothing.exit_code == 3);
  CHECK(nothing.err ==
        "error: [checkpoint.init_from] /nowhere: has no config.json; a Hugging Face folder would "
        "do\n");
  CHECK_FALSE(fs::exists(folder.path()));
}

TEST_CASE("a compute thread that waits for its team gives its core away soon") {
  if (num_available_cores() < 2) return;  // where no rank can have a team
  const RunFolder folder;
  const std::string words = folder.pretrain("trainer.max_steps=1 trainer.threads_per_rank=");
  // What libgomp itself says at each start of the program.
  const auto spins = [](const ProgramResult& r) {
    std::vector<std::string> found;
    std::istringstream lines(r.err);
    for (std::string line; std::getline(lines, line);)
      if (line.find("GOMP_SPINCOUNT") != std::string::npos) found.push_back(line);
    return found;
  };
  const std::string show = "env -u GOMP_SPINCOUNT -u OMP_WAIT_POLICY OMP_DISPLAY_ENV=verbose ";
  const std::string usual = "  GOMP_SPINCOUNT = '300000'";
  CHECK(spins(run_program(words + "2", "/", show)) ==
        std::vector<std::string>{usual, "  GOMP_SPINCOUNT = '1000'"});
  CHECK(spins(run_program(words + "1", "/", show)) == std::vector<std::string>{usual});
  CHECK(spins(run_program(words + "2", "/", show + "GOMP_SPINCOUNT=7")) ==
        std::vector<std::string>{"  GOMP_SPINCOUNT = '7'"});
  CHECK(spins(run_program(words + "2", "/", show + "OMP_WAIT_POLICY=passive")) ==
        std::vector<std::string>{"  GOMP_SPINCOUNT = '0'"});
}
