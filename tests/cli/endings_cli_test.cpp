// How runs end: exit codes, the error line, and the last line of metrics.jsonl.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/cli/run_folder.h"

using namespace nemo;

namespace {

// Settings under which the second step's gradient overflows.
constexpr const char* kDiverging =
    "trainer.max_steps=5 optim.lr=100 optim.weight_decay=100 optim.clip_grad=0 ";

size_t num_lines(const std::string& text) {
  return static_cast<size_t>(std::ranges::count(text, '\n'));
}

}  // namespace

TEST_CASE("data that cannot serve ends with 3 and one line, before a folder is made") {
  const RunFolder folder;
  const test::TempFolder data;
  const std::string small = test::write_file(data / "small.txt", "too few");
  const std::pair<std::string, std::string> cases[] = {
      {"/nowhere.txt", "error: [data.paths] /nowhere.txt: cannot open it: "},
      {small, "error: [data.paths] " + small + ": the training part has 7 tokens"},
      {"/dev/zero", "error: [data.paths] /dev/zero: it is not a regular file"},
      {"/tmp", "error: [data.paths] /tmp: it is a folder"},
  };
  for (const auto& [path, error] : cases) {
    const ProgramResult r =
        run_program(folder.pretrain("data.kind=text data.paths=[" + path + "]"));
    CHECK(r.exit_code == 3);
    CHECK(r.out == "");
    CHECK(r.err.substr(0, error.size()) == error);
    CHECK(num_lines(r.err) == 1);
    CHECK_FALSE(std::filesystem::exists(folder.path()));
  }
}

TEST_CASE("a log.dir that cannot be written ends with 2 and one line") {
  const RunFolder folder;
  for (const char* dir : {"/proc/nemo", "/dev/null", "/dev/full/run"}) {
    const ProgramResult r = run_program(folder.pretrain(std::string("log.dir=") + dir));
    CHECK(r.exit_code == 2);
    CHECK(r.out == "");
    CHECK(r.err.starts_with("error: [log.dir] "));
    CHECK(r.err.find(dir) != std::string::npos);
    CHECK(num_lines(r.err) == 1);
  }
}

#if !defined(__SANITIZE_ADDRESS__)  // whose own books of so much memory would fill the host's
TEST_CASE("a model larger than memory ends with 2 and says what to do") {
  const RunFolder folder;
  const ProgramResult r =
      run_program(folder.pretrain("model.hidden_size=1000000 model.num_attention_heads=10000 "
                                  "model.num_query_groups=10000 model.ffn_hidden_size=10000000"));
  CHECK(r.exit_code == 2);
  CHECK(r.err.find("; use more ranks, a smaller data.micro_batch_size, or another layout\n") !=
        std::string::npos);
}

#endif

TEST_CASE("a step that is not finite stops the run with 5, also under --debug") {
  const RunFolder folder;
  for (const char* debug : {"", " --debug"}) {
    const ProgramResult r = run_program(folder.pretrain(std::string(kDiverging) + debug));
    CHECK(r.exit_code == 5);
    const auto steps = folder.lines("step");
    REQUIRE(steps.size() == 2);
    CHECK(steps[0]["skipped"] == false);
    CHECK(steps[1]["skipped"] == true);
    CHECK(steps[1]["grad_norm"].is_null());
    const auto end = folder.lines().back();
    CHECK(end["event"] == "end");
    CHECK(end["reason"] == "diverged");
    CHECK(end["exit_code"] == 5);
    CHECK(end["step"] == 2);
  }
}

TEST_CASE("a step that is not finite can be skipped, and changes nothing") {
  const RunFolder folder;
  CHECK(run_program(folder.pretrain(std::string(kDiverging) + "trainer.non_finite=skip "
                                                              "trainer.val_check_interval=1"))
            .exit_code == 0);
  const auto steps = folder.lines("step");
  const auto evals = folder.lines("eval");
  REQUIRE(steps.size() == 5);
  REQUIRE(evals.size() == 5);
  CHECK(steps[0]["skipped"] == false);
  for (size_t i = 1; i < 5; ++i) {
    CHECK(steps[i]["skipped"] == true);
    CHECK(steps[i]["grad_norm"].is_null());
    CHECK(steps[i]["lr"] == steps[1]["lr"]);
    // Evaluation sees the same weights each time, those after the only step that counted.
    CHECK(evals[i]["loss"] == evals[0]["loss"]);
  }
  CHECK(folder.lines().back()["reason"] == "max_steps");
}

TEST_CASE("a loss that is not finite is null, and nan on the terminal") {
  namespace fs = std::filesystem;
  const RunFolder folder;
  const test::TempFolder weights;
  fs::copy(NEMO_GOLDEN_FOLDER "/llama_gqa", weights.path());
  const fs::path file = weights / "model.safetensors";
  // The last weight becomes NaN.
  std::fstream(file, std::ios::in | std::ios::out | std::ios::binary)
      .seekp(static_cast<std::streamoff>(fs::file_size(file)) - 4)
      .write("\xff\xff\xff\xff", 4);
  const std::string arguments = folder.pretrain(
      "model.vocab_size=64 model.num_layers=2 model.ffn_hidden_size=64 model.num_query_groups=2 "
      "checkpoint.init_from=" +
      weights.path().string());
  const ProgramResult r = run_program(arguments);
  CHECK(r.exit_code == 5);
  CHECK(r.out.starts_with("step 1/3  loss nan  grad_norm nan  "));
  REQUIRE(folder.lines("step").size() == 1);
  CHECK(folder.lines("step")[0]["loss"].is_null());
  CHECK(folder.lines().back()["reason"] == "diverged");
  CHECK(run_program(arguments + " trainer.non_finite=skip").exit_code == 0);
  REQUIRE(folder.lines("step").size() == 3);
  for (const auto& step : folder.lines("step")) CHECK(step["loss"].is_null());
}

TEST_CASE("a signal lets the step finish and ends the run with 128 + signal") {
  for (int signal : {SIGINT, SIGTERM, SIGUSR1}) {
    const RunFolder folder;
    RunningProgram program(folder.pretrain("trainer.max_steps=1000000000 dp_size=2"));
    REQUIRE(comes_true([&] { return !folder.lines("step").empty(); }));
    program.send(signal);
    REQUIRE(comes_true([&] { return program.ended(); }));
    CHECK(program.exit_code() == 128 + signal);
    const auto lines = folder.lines();
    const auto& end = lines.back();
    CHECK(end["event"] == "end");
    CHECK(end["reason"] == "signal");
    CHECK(end["exit_code"] == 128 + signal);
    CHECK(end["step"] == lines[lines.size() - 2]["step"]);
  }
}

TEST_CASE("a second Ctrl-C does not wait for the step") {
  const RunFolder folder;
  // A step of this run takes hours.
  RunningProgram program(folder.pretrain("data.global_batch_size=268435456"));
  REQUIRE(comes_true([&] { return !folder.lines("start").empty(); }));
  // Two that arrive together count as one, so it is sent until it is heard twice.
  REQUIRE(comes_true([&] {
    program.send(SIGINT);
    return program.ended();
  }));
  CHECK(program.exit_code() == 130);
  CHECK(folder.events() == std::vector<std::string>{"start"});
}

TEST_CASE("a closed standard output does not mix with the run's files") {
  const RunFolder folder;
  const ProgramResult r = run_program(folder.pretrain(">&-"));
  CHECK(r.exit_code == 0);
  CHECK(test::read_file(folder.path() / "metrics.jsonl").find("step 1/3") == std::string::npos);
  CHECK(test::read_file(folder.path() / "recipe.resolved.yaml").find("step 1/3") ==
        std::string::npos);
  CHECK(folder.events() == std::vector<std::string>{"start", "step", "step", "step", "end"});
}

TEST_CASE("a document that cannot be printed whole is an error") {
  for (const char* words : {"pretrain --recipe llama_tiny --dry-run", "recipes", "recipes list",
                            "recipes show llama_tiny"}) {
    const ProgramResult r = run_program(std::string(words) + " >/dev/full");
    CHECK(r.exit_code == 2);
    CHECK(r.err ==
          "error: standard output cannot be written: No space left on device; is the disk full?\n");
  }
}
