// How runs end: exit codes, the error line, and the last line of metrics.jsonl.
#include <doctest/doctest.h>

#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "lib/device/host.h"
#include "tests/cli/running_job.h"
#include "tests/support/sampled.h"

using namespace nemo;

namespace {

// Settings under which the second step's gradient overflows.
constexpr const char* kDiverging =
    "trainer.max_steps=5 optim.lr=100 optim.weight_decay=100 optim.clip_grad=0 ";

// Gone with this object.
class NamedPipe {
 public:
  NamedPipe() { REQUIRE(mkfifo(path().c_str(), 0600) == 0); }
  std::string path() const { return folder_ / "pipe"; }

 private:
  test::TempFolder folder_;
};

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

TEST_CASE("what this host cannot run ends with 2 and one line, before a folder is made") {
  const RunFolder folder;
  const std::string cores = std::to_string(num_available_cores());
  const std::pair<std::string, std::string> cases[] = {
      {"dp_size=8192 data.global_batch_size=16384",
       "error: trainer.devices: 8192 cannot run yet; 1 to 256 would do (parallel.dp_size: override "
       "dp_size=8192)\n"},
      {"trainer.threads_per_rank=4096",
       "error: [trainer.threads_per_rank] 4096 compute threads for each rank, this process may run "
       "on " +
           cores + " core"},
      // Two matrices of 4 GiB and a block of 12 MB, with gradients and moments.
      {"dp_size=256 data.global_batch_size=512 model.vocab_size=1048576 model.hidden_size=1024",
       "error: [memory] predicted at least 32.05 GiB per rank * 256 ranks, host has "},
      {"data.micro_batch_size=1048576 data.global_batch_size=1048576 data.seq_length=1024",
       "error: [memory] predicted at least 128.00 GiB per rank * 1 rank, host has "},
      // State and one activation are 3 GiB: this takes the whole step to tell.
      {"data.micro_batch_size=65536 data.global_batch_size=65536 data.seq_length=128 "
       "model.ffn_hidden_size=1048576",
       "error: [memory] predicted at least 131"},
  };
  for (const auto& [overrides, error] : cases) {
    const ProgramResult r = run_program(folder.pretrain(overrides));
    CHECK(r.exit_code == 2);
    CHECK(r.out == "");
    CHECK(r.err.substr(0, error.size()) == error);
    CHECK(num_lines(r.err) == 1);
    CHECK_FALSE(std::filesystem::exists(folder.path()));
  }
}

#if !defined(NEMO_SANITIZED)  // sanitizers start threads of their own

TEST_CASE("a limit on threads ends with 2 and names it, before a folder is made") {
  const RunFolder folder;
  // The limit does not hold for root; nobody, with root's leave to read files, has to do.
  const std::string nobody = geteuid() == 0 ? "setpriv --reuid=65534 --inh-caps=+dac_override "
                                              "--ambient-caps=+dac_override "
                                            : "";
  const ProgramResult r = run_program(folder.pretrain("dp_size=8 data.micro_batch_size=1"), "/",
                                      nobody + "prlimit --nproc=2");
  CHECK(r.exit_code == 2);
  CHECK(r.err.starts_with("error: [trainer.devices] "));
  CHECK(r.err.ends_with(
      " of 8 threads start (8 ranks * trainer.threads_per_rank 1): Resource temporarily "
      "unavailable; a higher `ulimit -u` or fewer of them would do\n"));
  CHECK(num_lines(r.err) == 1);
  CHECK_FALSE(std::filesystem::exists(folder.path()));
}

TEST_CASE("other limits end with 2 and are named, before a folder is made") {
  const std::string processes = "dp_size=2 --launch processes";
  struct Limit {
    std::string limit, how, what;
  };
  const Limit cases[] = {
      {"-s 64", processes, "the stack is limited to 64 KiB, 128 are needed; raise `ulimit -s`"},
      {"-n 17", processes, "open files are limited to 17, 18 are needed; raise `ulimit -n`"},
      {"-n 14", "dp_size=2", "open files are limited to 14, 16 are needed; raise `ulimit -n`"},
      {"-f 1", processes, "File too large; raise `ulimit -f`"},
      {"-v 1000000", processes, "Cannot allocate memory; raise `ulimit -v` and `-d`"},
      {"-v 1000000", "dp_size=2", "Cannot allocate memory; raise `ulimit -v` and `-d`"},
      {"-v 10000000", "dp_size=2", "Cannot allocate memory; raise `ulimit -v` and `-d`"},
  };
  for (const auto& [limit, how, what] : cases) {
    CAPTURE(limit + " " + how);
    const RunFolder folder;
    const ProgramResult r = run_program(folder.pretrain("data.micro_batch_size=1 " + how), "/",
                                        "ulimit " + limit + " &&");
    CHECK(r.exit_code == 2);
    CHECK(r.err.starts_with("error: "));
    CHECK(r.err.ends_with(what + "\n"));
    CHECK(num_lines(r.err) == 1);
    CHECK_FALSE(std::filesystem::exists(folder.path()));
  }
}

TEST_CASE("a launcher that may start no thread ends with 2 and names the limit") {
  const RunFolder folder;
  const std::string nobody = geteuid() == 0 ? "setpriv --reuid=65534 --inh-caps=+dac_override "
                                              "--ambient-caps=+dac_override "
                                            : "";
  const ProgramResult r = run_program(folder.pretrain("dp_size=2 --launch processes"), "/",
                                      nobody + "prlimit --nproc=1");
  CHECK(r.exit_code == 2);
  CHECK(r.err ==
        "error: a thread cannot start: Resource temporarily unavailable; raise `ulimit -u`, `-v` "
        "and `-d`\n");
}

#endif

TEST_CASE("a plan or a refusal of a huge recipe takes no time") {
  const RunFolder folder;
  const auto start = std::chrono::steady_clock::now();
  for (const char* size : {"model.num_layers=65536 model.hidden_size=1024",
                           "data.micro_batch_size=1000000 data.global_batch_size=1000000 "
                           "data.seq_length=1024"}) {
    CHECK(run_program(folder.pretrain(size) + " --dry-run").exit_code == 0);
    CHECK(run_program(folder.pretrain(size)).exit_code == 2);
  }
  // On a machine that does much else; the whole step of so many layers is some minutes of work.
#ifdef NEMO_SANITIZED
  constexpr std::chrono::seconds kLimit{100};
#else
  constexpr std::chrono::seconds kLimit{10};
#endif
  CHECK(std::chrono::steady_clock::now() - start < kLimit);
}

TEST_CASE("a step that is not finite stops the run with 5, also under --debug") {
  const RunFolder folder;
  for (const char* how : {"", " --debug", " dp_size=2 --launch processes"}) {
    const ProgramResult r = run_program(folder.pretrain(std::string(kDiverging) + how));
    CHECK(r.exit_code == 5);
    CHECK(r.out.find("  not finite: no update  ") != std::string::npos);
    const size_t error = r.err.find("error: ");
    CHECK(r.err.substr(error).starts_with("error: [trainer.non_finite] step 2 has loss "));
    CHECK(
        r.err.ends_with(", and the policy is stop; a smaller optim.lr would do, or skip, which "
                        "leaves such steps out\n"));
    CHECK(num_lines(r.err.substr(error)) == 1);
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

TEST_CASE("a signal lets the step finish and ends the run with 128 + signal, without evaluating") {
  for (int signal : {SIGINT, SIGTERM, SIGUSR1, SIGHUP}) {
    const RunFolder folder;
    RunningProgram program(folder.pretrain(
        "trainer.max_steps=1000000000 trainer.val_check_interval=1000000000 dp_size=2"));
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
    CHECK(lines[lines.size() - 2]["event"] == "step");
  }
}

TEST_CASE("a signal ends an evaluation too, and no step follows") {
  for (const char* how : {"", "--launch processes"}) {
    const RunFolder folder;
    // An evaluation of this run takes hours.
    RunningProgram program(
        folder.pretrain("trainer.max_steps=1000000000 dp_size=2 "
                        "trainer.val_check_interval=2 data.split=[0.5,0.5,0] "
                        "trainer.limit_val_batches=1000000000 " +
                        std::string(how)));
    REQUIRE(comes_true([&] { return folder.lines("step").size() == 2; }));
    program.send(SIGTERM);
    REQUIRE(comes_true([&] { return program.ended(); }));
    CHECK(program.exit_code() == 128 + SIGTERM);
    CHECK(folder.events() == std::vector<std::string>{"start", "step", "step", "end"});
    CHECK(folder.lines().back()["reason"] == "signal");
    CHECK(folder.lines().back()["step"] == 2);
  }
}

TEST_CASE("a signal during preparation ends the program before it leaves anything") {
  const RunFolder folder;
  // Its memory takes a while to predict, and longer under sanitizers.
  JobProcess program(folder.pretrain("dp_size=2 model.num_layers=" +
                                     std::to_string(test::kSanitized ? 500 : 3000)));
  REQUIRE(comes_true([&] { return program.program().catches(SIGTERM); }));
  program.send(SIGTERM);
  CHECK(program.exit_code() == 128 + SIGTERM);
  CHECK(program.errors() == std::vector<std::string>{"stopped by signal 15 before training began"});
  CHECK_FALSE(std::filesystem::exists(folder.path()));
}

TEST_CASE("a signal while weights are initialised ends the run before its first step") {
  for (const char* how : {"", "--launch processes"}) {
    const RunFolder folder;
    // 17 million weights; a step takes hours.
    RunningProgram program(
        folder.pretrain("dp_size=2 model.vocab_size=262144 "
                        "data.global_batch_size=268435456 " +
                        std::string(how)));
    REQUIRE(comes_true([&] { return !folder.lines("start").empty(); }));
    program.send(SIGTERM);
    REQUIRE(comes_true([&] { return program.ended(); }));
    CHECK(program.exit_code() == 128 + SIGTERM);
    CHECK(folder.events() == std::vector<std::string>{"start", "end"});
    CHECK(folder.lines().back()["reason"] == "signal");
    CHECK(folder.lines().back()["step"] == 0);
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
  // One that is heard before the step has begun ends the run in order.
  CHECK(folder.lines("step").empty());
}

TEST_CASE("under nohup a run outlives its terminal") {
  const RunFolder folder;
  RunningProgram program(folder.pretrain("trainer.max_steps=1000000000"), "trap '' HUP;");
  REQUIRE(comes_true([&] { return !folder.lines("step").empty(); }));
  program.send(SIGHUP);
  const size_t before = folder.lines("step").size();
  REQUIRE(comes_true([&] { return folder.lines("step").size() > before + 2; }));
  program.send(SIGTERM);
  REQUIRE(comes_true([&] { return program.ended(); }));
  CHECK(program.exit_code() == 128 + SIGTERM);
}

TEST_CASE("a run whose reader goes stops as by a signal") {
  const RunFolder folder;
  const NamedPipe pipe;
  RunningProgram program(folder.pretrain("trainer.max_steps=1000000000 >" + pipe.path()));
  {
    std::ifstream reader(pipe.path());
    std::string line;
    REQUIRE(std::getline(reader, line));
    CHECK(line.starts_with("step 1/1000000000  loss "));
  }
  REQUIRE(comes_true([&] { return program.ended(); }));
  CHECK(program.exit_code() == 128 + SIGPIPE);
  const auto lines = folder.lines();
  CHECK(lines.back()["reason"] == "signal");
  CHECK(lines.back()["exit_code"] == 128 + SIGPIPE);
  CHECK(lines.back()["step"] == lines[lines.size() - 2]["step"]);
}

TEST_CASE("Ctrl-C that ends the reader too is Ctrl-C") {
  const RunFolder folder;
  const NamedPipe pipe;
  RunningProgram program(folder.pretrain("trainer.max_steps=1000000000 >" + pipe.path()));
  {
    const std::ifstream reader(pipe.path());  // reads nothing, so that the run waits to print
    size_t num_steps = 0;
    REQUIRE(comes_true([&] {
      const size_t before = std::exchange(num_steps, folder.lines("step").size());
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      return num_steps > 0 && num_steps == before;
    }));
    program.send(SIGINT);
  }
  REQUIRE(comes_true([&] { return program.ended(); }));
  CHECK(program.exit_code() == 130);
}

TEST_CASE("a reader that has stopped reading does not make a run deaf to signals") {
  const RunFolder folder;
  const NamedPipe pipe;
  RunningProgram program(folder.pretrain("trainer.max_steps=1000000000 dp_size=2 >" + pipe.path()));
  const std::ifstream reader(pipe.path());
  size_t num_steps = 0;
  REQUIRE(comes_true([&] {
    const size_t before = std::exchange(num_steps, folder.lines("step").size());
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    return num_steps > 0 && num_steps == before;
  }));
  program.send(SIGTERM);
  REQUIRE(comes_true([&] { return program.ended(); }));
  CHECK(program.exit_code() == 128 + SIGTERM);
  CHECK(folder.lines().back()["reason"] == "signal");
}

TEST_CASE("a standard output that is full ends the run with 3") {
  const RunFolder folder;
  const ProgramResult r = run_program(folder.pretrain(">/dev/full"));
  CHECK(r.exit_code == 3);
  CHECK(r.err.ends_with(
      "\nerror: standard output cannot be written: No space left on device; is the disk full?\n"));
  CHECK(folder.events() == std::vector<std::string>{"start", "step", "end"});
  CHECK(folder.lines().back()["reason"] == "error");
  CHECK(folder.lines().back()["exit_code"] == 3);
}

TEST_CASE("a disk that fills up ends the run with 3, and what it has is whole lines") {
  const RunFolder folder;
  // 8 or 16 KiB a file, as the shell counts.
  const ProgramResult r =
      run_program(folder.pretrain("trainer.max_steps=1000000000"), "/", "ulimit -f 16 &&");
  CHECK(r.exit_code == 3);
  const std::string error = "error: [log.dir] " + (folder.path() / "metrics.jsonl").string() +
                            ": File too large; make room for it and start again\n";
  CHECK(r.err.ends_with(error));
  CHECK(num_lines(r.err) <= 3);
  const std::string text = test::read_file(folder.path() / "metrics.jsonl");
  CHECK(text.size() > 7000);
  CHECK(text.back() == '\n');
  const auto steps = folder.lines("step");
  for (size_t i = 0; i < steps.size(); ++i) CHECK(steps[i]["step"] == i + 1);
}

TEST_CASE("a standard error that is full keeps the exit code") {
  CHECK(run_program("pretran 2>/dev/full").exit_code == 2);
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

TEST_CASE("a run whose files are gone at its end did not end well") {
  for (const bool is_removed : {true, false}) {
    const RunFolder folder;
    const test::TempFolder moved;
    JobProcess program(folder.pretrain("trainer.max_steps=1000000000"));
    REQUIRE(comes_true([&] { return folder.lines("step").size() > 1; }));
    std::filesystem::rename(folder.path(), moved / "run");
    if (is_removed) std::filesystem::remove_all(moved / "run");
    program.send(SIGTERM);
    CHECK(program.exit_code() == 3);
    CHECK(program.errors() ==
          std::vector<std::string>{"[log.dir] " + (folder.path() / "metrics.jsonl").string() +
                                   ": removed or replaced during the run; give each run a log.dir "
                                   "of its own"});
  }
}

TEST_CASE("a document for a closed standard output is an error") {
  for (const char* words : {"pretrain --recipe llama_tiny --dry-run", "recipes", "--version"}) {
    const ProgramResult r = run_program(std::string(words) + " >&-");
    CHECK(r.exit_code == 2);
    CHECK(r.err == "error: standard output is closed; open it, or leave the command out\n");
  }
}

TEST_CASE("a document that cannot be printed whole is an error") {
  for (const char* words : {"pretrain --recipe llama_tiny --dry-run", "recipes", "recipes list",
                            "recipes show llama_tiny", "--version", "--help", "pretrain --help"}) {
    const ProgramResult r = run_program(std::string(words) + " >/dev/full");
    CHECK(r.exit_code == 2);
    CHECK(r.err ==
          "error: standard output cannot be written: No space left on device; is the disk full?\n");
  }
}
