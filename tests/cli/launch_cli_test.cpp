// Ranks as processes: started by the program itself, or by others.
#include <doctest/doctest.h>

#include <array>
#include <functional>
#include <set>

#include "tests/cli/running_job.h"

using namespace nemo;

namespace {

// For one, two or three ranks.
constexpr const char* kShort = "data.global_batch_size=12 ";
constexpr const char* kForever = "data.global_batch_size=12 trainer.max_steps=1000000000 ";
// Attention alone takes many seconds, in which a rank looks at nothing.
constexpr const char* kLongKernel =
    "data.seq_length=131072 data.global_batch_size=2 data.micro_batch_size=1 ";
constexpr double kMostSeconds = 10;

std::string processes(int num_ranks, const std::string& more = "") {
  return "--launch processes trainer.devices=" + std::to_string(num_ranks) + " " + more;
}

// One rank wrote: one start, one file of events, nothing moved aside, nothing unfinished.
void check_one_writer(const RunFolder& folder) {
  CHECK(folder.lines("start").size() == 1);
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path()))
    names.insert(entry.path().filename());
  CHECK(names == std::set<std::string>{"metrics.jsonl", "recipe.resolved.yaml", "tensorboard"});
  const std::filesystem::directory_iterator events(folder.path() / "tensorboard");
  CHECK(std::distance(events, {}) == 1);
}

// Of a process's files, those that lie in the folder.
int num_open_files(pid_t pid, const RunFolder& folder) {
  int num = 0;
  std::error_code gone;
  for (const auto& entry :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd", gone))
    num += std::filesystem::read_symlink(entry, gone).string().starts_with(folder.path().string());
  return num;
}

void check_none_left(const RunFolder& folder) {
  CHECK(comes_true([&] { return processes_of(folder).empty(); }));
}

}  // namespace

TEST_CASE("processes compute what threads compute, bit for bit") {
  struct Layout {
    int num_ranks;
    std::string sizes;
  };
  const Layout layouts[] = {
      {1, "dp_size=1"},           {2, "dp_size=2"},
      {3, "dp_size=3"},           {4, "dp_size=4"},
      {2, "tp_size=2 dp_size=1"}, {4, "tp_size=2 dp_size=2 sequence_parallel=true"}};
  for (const Layout& layout : layouts) {
    const int num_ranks = layout.num_ranks;
    CAPTURE(layout.sizes);
    const RunFolder threads;
    const RunFolder launched;
    const RunFolder torchrun;
    const std::string recipe =
        "data.global_batch_size=24 data.micro_batch_size=1 trainer.max_steps=4 "
        "trainer.val_check_interval=2 optim.lr=1e-2 " +
        layout.sizes + " ";
    CHECK(run_program(threads.pretrain(recipe)).exit_code == 0);
    const ProgramResult r = run_program(launched.pretrain(recipe + processes(num_ranks)));
    CHECK(r.exit_code == 0);
    CHECK(r.out.starts_with("step 1/4  loss "));
    CHECK(r.err.find("error") == std::string::npos);
    TorchrunJob job(num_ranks, torchrun.pretrain(recipe));
    for (auto& rank : job.ranks) CHECK(rank->exit_code() == 0);

    REQUIRE(threads.lines("step").size() == 4);
    REQUIRE(threads.lines("eval").size() == 2);
    CHECK(threads.lines()[0]["world"] == num_ranks);
    for (const RunFolder* folder : {&launched, &torchrun}) {
      CHECK(results(*folder) == results(threads));
      check_one_writer(*folder);
      std::set<int64_t> pids;
      for (int rank = 0; rank < num_ranks; ++rank) pids.insert(pid_of(*folder, rank));
      CHECK(pids.size() == static_cast<size_t>(num_ranks));
      check_none_left(*folder);
    }
  }
}

TEST_CASE("only rank 0 has files of the run open") {
  const RunFolder folder;
  JobProcess launcher(folder.pretrain(kForever + processes(3)));
  REQUIRE(is_training(folder));
  CHECK(num_open_files(pid_of(folder, 0), folder) == 2);  // metrics.jsonl, events
  for (const pid_t pid : processes_of(folder))
    if (pid != pid_of(folder, 0)) CHECK(num_open_files(pid, folder) == 0);
}

TEST_CASE("each rank, killed under its launcher, is named and ends the job") {
  for (int victim : {0, 1, 2}) {
    const RunFolder folder;
    JobProcess launcher(folder.pretrain(kForever + processes(3)));
    REQUIRE(is_training(folder));
    CHECK(processes_of(folder).size() == 4);
    const auto start = Clock::now();
    kill(pid_of(folder, victim), SIGKILL);
    CHECK(launcher.exit_code() == 4);
    CHECK(seconds_since(start) < kMostSeconds);
    CHECK(launcher.errors() ==
          std::vector<std::string>{name_of(folder, victim) + ": killed by signal 9"});
    check_none_left(folder);
    if (victim == 0) continue;  // which writes how the run ended
    CHECK(folder.lines().back()["reason"] == "error");
    CHECK(folder.lines().back()["exit_code"] == 4);
  }
}

TEST_CASE("no rank outlives its launcher, whatever it does") {
  for (const char* recipe : {kForever, kLongKernel}) {
    const RunFolder folder;
    JobProcess launcher(folder.pretrain(recipe + processes(2)));
    REQUIRE(comes_true([&] { return !folder.lines("start").empty(); }));
    std::this_thread::sleep_for(std::chrono::seconds(1));  // until it is in there
    CHECK(processes_of(folder).size() == 3);
    const auto start = Clock::now();
    launcher.send(SIGKILL);
    CHECK(launcher.exit_code() == 128 + SIGKILL);
    check_none_left(folder);
    CHECK(seconds_since(start) < kMostSeconds);
  }
}

TEST_CASE("each rank, killed where nobody is above, is named by every survivor") {
  for (int victim : {0, 1, 2}) {
    const RunFolder folder;
    TorchrunJob job(3, folder.pretrain(kForever));
    REQUIRE(is_training(folder));
    const std::string name = name_of(folder, victim);
    const auto start = Clock::now();
    kill(pid_of(folder, victim), SIGKILL);
    for (int rank = 0; rank < 3; ++rank) {
      JobProcess& process = *job.ranks[static_cast<size_t>(rank)];
      CHECK(process.exit_code() == (rank == victim ? 128 + SIGKILL : 4));
      if (rank == victim) continue;
      REQUIRE(process.errors().size() == 1);
      CHECK(process.errors()[0].starts_with(
          name + (victim == 0 ? ": died; its store at 127.0.0.1:" : ": died; its connection")));
    }
    CHECK(seconds_since(start) < kMostSeconds);
    check_none_left(folder);
  }
}

namespace {

// It may have been stopped in the middle of an operation.
bool names_hanging(const std::string& error, int rank) {
  const std::string end = " within 4 s; find what holds them up, or raise trainer.comm_timeout_s";
  const std::string who = ": rank " + std::to_string(rank) + " did not ";
  return error.ends_with(who + "arrive" + end) || error.ends_with(who + "finish" + end);
}

}  // namespace

TEST_CASE("a rank that hangs is named, not those in other groups that wait for it") {
  const std::string layout = "tp_size=2 dp_size=2 trainer.comm_timeout_s=4 ";
  std::array<RunFolder, 4> folders;
  std::vector<std::unique_ptr<JobProcess>> launchers;
  for (size_t i = 0; i < folders.size(); ++i) {
    const RunFolder& folder = folders.at(i);
    launchers.push_back(
        std::make_unique<JobProcess>(folder.pretrain(kForever + layout + processes(4))));
    REQUIRE(is_training(folder));
    kill(pid_of(folder, static_cast<int>(i)), SIGSTOP);
  }
  for (size_t i = 0; i < folders.size(); ++i) {
    CHECK(launchers.at(i)->exit_code() == 4);
    REQUIRE(launchers.at(i)->errors().size() == 1);
    CAPTURE(launchers.at(i)->errors()[0]);
    CHECK(names_hanging(launchers.at(i)->errors()[0], static_cast<int>(i)));
    check_none_left(folders.at(i));
  }
}

TEST_CASE("a rank that hangs is named when the time is up") {
  for (bool launched : {true, false}) {
    const RunFolder folder;
    const std::string words = folder.pretrain(std::string(kForever) + "trainer.comm_timeout_s=4 ");
    std::vector<std::unique_ptr<JobProcess>> processes_to_end;
    if (launched)
      processes_to_end.push_back(std::make_unique<JobProcess>(words + processes(3)));
    else
      processes_to_end = std::move(TorchrunJob(3, words).ranks);
    REQUIRE(is_training(folder));
    const auto start = Clock::now();
    const pid_t stopped = pid_of(folder, 1);
    kill(stopped, SIGSTOP);
    for (size_t i = 0; i < processes_to_end.size(); ++i) {
      if (i == 1) continue;
      CHECK(processes_to_end[i]->exit_code() == 4);
      const auto errors = processes_to_end[i]->errors();
      REQUIRE(errors.size() == 1);
      CHECK(errors[0].find("group ") != std::string::npos);
      CHECK(errors[0].find(", sequence ") != std::string::npos);
      CHECK(names_hanging(errors[0], 1));
    }
    CHECK(seconds_since(start) < 4 + kMostSeconds);
    if (!launched) {
      CHECK(processes_of(folder) == std::vector<pid_t>{stopped});
      kill(stopped, SIGCONT);  // nobody is there any more
      CHECK(processes_to_end[1]->exit_code() == 4);
    }
    check_none_left(folder);
  }
}

TEST_CASE("ranks that never join are named when the time is up") {
  for (int missing : {0, 2}) {
    const RunFolder folder;
    const int port = free_port();
    std::vector<std::unique_ptr<JobProcess>> ranks;
    for (int rank : {0, 1, 2})
      if (rank != missing)
        ranks.push_back(std::make_unique<JobProcess>(
            folder.pretrain(std::string(kShort) + "trainer.comm_timeout_s=4"),
            torchrun(rank, 3, port)));
    for (auto& rank : ranks) {
      CHECK(rank->exit_code() == 4);
      REQUIRE(rank->errors().size() == 1);
      CHECK(rank->errors()[0].starts_with(
          missing == 2 ? "[store] rank 2 of 3 did not join within 4 s; "
                       : "[store] 127.0.0.1:" + std::to_string(port) +
                             " cannot be reached within 4 s: Connection refused; see that rank 0"));
    }
    CHECK_FALSE(std::filesystem::exists(folder.path()));
  }
}

TEST_CASE("a stop signal to the launcher ends all ranks after the same step") {
  for (int signal : {SIGINT, SIGTERM, SIGUSR1, SIGHUP}) {
    const RunFolder folder;
    JobProcess launcher(folder.pretrain(kForever + processes(2)));
    REQUIRE(is_training(folder));
    launcher.send(signal);
    CHECK(launcher.exit_code() == 128 + signal);
    CHECK(launcher.errors().empty());
    const auto lines = folder.lines();
    CHECK(lines.back()["reason"] == "signal");
    CHECK(lines.back()["exit_code"] == 128 + signal);
    CHECK(lines.back()["step"] == lines[lines.size() - 2]["step"]);
    check_none_left(folder);
  }
}

TEST_CASE("a terminal's Ctrl-C, which every process gets, lets the step finish") {
  const RunFolder folder;
  // Steps in which the launcher has the time to pass it on.
  JobProcess launcher(folder.pretrain(std::string(kForever) +
                                      "data.seq_length=2048 data.global_batch_size=2 "
                                      "data.micro_batch_size=1 " +
                                      processes(2)));
  REQUIRE(is_training(folder));
  for (const pid_t pid : processes_of(folder)) kill(pid, SIGINT);
  CHECK(launcher.exit_code() == 130);
  CHECK(folder.lines().back()["reason"] == "signal");
  check_none_left(folder);
}

TEST_CASE("a second Ctrl-C ends launcher and ranks at once") {
  const RunFolder folder;
  // A step of this run takes hours.
  JobProcess launcher(folder.pretrain("data.global_batch_size=268435456 " + processes(2)));
  REQUIRE(comes_true([&] { return !folder.lines("start").empty(); }));
  REQUIRE(comes_true([&] {
    launcher.send(SIGINT);
    return launcher.program().ended();
  }));
  CHECK(launcher.exit_code() == 130);
  check_none_left(folder);
}

TEST_CASE("a rank that computes for long ends when the job has failed") {
  const RunFolder folder;
  TorchrunJob job(2, folder.pretrain(kLongKernel));
  REQUIRE(comes_true([&] { return !folder.lines("start").empty(); }));
  std::this_thread::sleep_for(std::chrono::seconds(1));  // until it is in there
  const auto start = Clock::now();
  kill(pid_of(folder, 1), SIGKILL);
  CHECK(job.ranks[0]->exit_code() == 4);
  CHECK(seconds_since(start) > 1.5);  // it did not look up
  CHECK(seconds_since(start) < kMostSeconds);
  REQUIRE(job.ranks[0]->errors().size() == 1);
  CHECK(job.ranks[0]->errors()[0].starts_with(name_of(folder, 1) + ": died; "));
}

TEST_CASE("a signal to one rank among many stops all") {
  const RunFolder folder;
  TorchrunJob job(3, folder.pretrain(kForever));
  REQUIRE(is_training(folder));
  kill(pid_of(folder, 2), SIGTERM);
  for (auto& rank : job.ranks) CHECK(rank->exit_code() == 143);
  CHECK(folder.lines().back()["exit_code"] == 143);
}

TEST_CASE("a signal ends a rank that waits for others") {
  const RunFolder folder;
  JobProcess alone(folder.pretrain(), torchrun(1, 2, free_port()));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  alone.send(SIGTERM);
  CHECK(alone.exit_code() == 143);
}

TEST_CASE("a rank's own error is said once, with its exit code, and leaves no folder") {
  const RunFolder folder;
  const ProgramResult r = run_program(
      folder.pretrain(kShort + processes(3, "data.kind=text data.paths=[/nowhere.txt]")));
  CHECK(r.exit_code == 3);
  CHECK(r.err.starts_with("error: rank "));
  CHECK(r.err.find("): [data.paths] /nowhere.txt: cannot open it: ") != std::string::npos);
  CHECK(std::ranges::count(r.err, '\n') == 1);
  CHECK_FALSE(std::filesystem::exists(folder.path()));
}

TEST_CASE("a rank that cannot run keeps rank 0, which can, from writing anything") {
  const RunFolder folder;
  const int port = free_port();
  const std::string words = folder.pretrain("dp_size=2 trainer.threads_per_rank=2");
  JobProcess first(words, torchrun(0, 2, port));
  JobProcess second(words, torchrun(1, 2, port) + " taskset -p -c 0 $$ >/dev/null;");
  for (JobProcess* rank : {&first, &second}) {
    CHECK(rank->exit_code() == 2);
    REQUIRE(rank->errors().size() == 1);
    CHECK(rank->errors()[0].find(
              "): [trainer.threads_per_rank] 2 compute threads for each rank, this process may run "
              "on 1 core; ") != std::string::npos);
  }
  CHECK_FALSE(std::filesystem::exists(folder.path()));
}

TEST_CASE("a run that diverges ends alike on all ranks, and rank 0 says it") {
  const RunFolder folder;
  TorchrunJob job(2, folder.pretrain("trainer.max_steps=5 optim.lr=100 optim.weight_decay=100 "
                                     "optim.clip_grad=0"));
  for (auto& rank : job.ranks) CHECK(rank->exit_code() == 5);
  CHECK(job.ranks[0]->errors().size() == 1);
  CHECK(job.ranks[1]->errors().empty());
  CHECK(folder.lines().back()["reason"] == "diverged");
}

TEST_CASE("ranks that mean different runs are refused") {
  const RunFolder folder;
  TorchrunJob job(3, folder.pretrain(kShort), {{2, "optim.lr=0.25"}});
  for (auto& rank : job.ranks) {
    CHECK(rank->exit_code() == 2);
    REQUIRE(rank->errors().size() == 1);
    CHECK(rank->errors()[0].find(
              "): [recipe] here optim.lr: 0.25, on rank 0 lr: 0.003; start every rank with the "
              "same command") != std::string::npos);
  }
  CHECK_FALSE(std::filesystem::exists(folder.path()));
}

TEST_CASE("an environment that cannot be is refused before anything begins") {
  const RunFolder folder;
  struct Case {
    std::string before;
    std::string words;
    std::string error;
  };
  const std::string all = torchrun(0, 4, 29500);
  const Case cases[] = {
      {"export RANK=0;", "", "error: [WORLD_SIZE] not set, but RANK is 0; "},
      {"export RANK=4 WORLD_SIZE=4;", "", "error: [RANK] 4 is not one of 0 to 3; "},
      {all, "trainer.devices=2",
       "error: trainer.devices: trainer.devices 2 * trainer.num_nodes 1 = 2, but the launcher "
       "started 4 tasks; "},
      {all, "dp_size=2", "error: parallel.dp_size: "},
      {"export SLURM_STEP_NUM_TASKS=4;", "", "error: [SLURM_PROCID] not set, "},
  };
  for (const Case& c : cases) {
    const ProgramResult r = run_program(folder.pretrain(c.words), "/", c.before);
    CHECK(r.exit_code == 2);
    CHECK(r.err.starts_with(c.error));
    CHECK_FALSE(std::filesystem::exists(folder.path()));
  }
}

TEST_CASE("a port that is taken is a usage error") {
  const RunFolder folder;
  const RunFolder other;
  const int port = free_port();
  JobProcess first(folder.pretrain(kForever), torchrun(0, 1, port));
  REQUIRE(is_training(folder));
  JobProcess second(other.pretrain(), torchrun(0, 1, port));
  CHECK(second.exit_code() == 2);
  CHECK(second.errors() ==
        std::vector<std::string>{"[store] cannot listen at 127.0.0.1:" + std::to_string(port) +
                                 ": Address already in use; another MASTER_PORT may do"});
}

namespace {

// Runs two ranks, each with the variables that `variables(rank)` gives as shell text, and holds
// them against two threads.
void check_two_ranks(const std::function<std::string(int)>& variables) {
  const RunFolder folder;
  const RunFolder threads;
  CHECK(run_program(threads.pretrain("dp_size=2")).exit_code == 0);
  std::vector<std::unique_ptr<JobProcess>> ranks;
  for (int rank : {0, 1})
    ranks.push_back(std::make_unique<JobProcess>(folder.pretrain("dp_size=2"), variables(rank)));
  for (auto& rank : ranks) {
    CHECK(rank->exit_code() == 0);
    CHECK(rank->errors().empty());
  }
  CHECK(results(folder) == results(threads));
  check_one_writer(folder);
}

}  // namespace

TEST_CASE("a Slurm step of one node, with srun's variables alone: a rank for each task") {
  const std::string job = std::to_string(free_job_number());
  check_two_ranks([&](int rank) {
    const std::string number = std::to_string(rank);
    return "export SLURM_JOB_ID=" + job +
           " SLURM_STEP_NUM_TASKS=2 SLURM_STEP_NUM_NODES=1 SLURM_STEP_NODELIST=localhost "
           "SLURM_NTASKS=2 SLURM_PROCID=" +
           number + " SLURM_LOCALID=" + number + ";";
  });
}

TEST_CASE("OpenMPI's variables: a rank for each task") {
  const std::string job = std::to_string(free_job_number());
  check_two_ranks([&](int rank) {
    const std::string number = std::to_string(rank);
    return "export PMIX_NAMESPACE=" + job +
           " OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_LOCAL_SIZE=2 OMPI_COMM_WORLD_RANK=" + number +
           " OMPI_COMM_WORLD_LOCAL_RANK=" + number + ";";
  });
}
