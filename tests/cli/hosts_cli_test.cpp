// One job on two hosts.
#include <doctest/doctest.h>

#include "tests/cli/running_job.h"
#include "tests/cli/two_hosts.h"
#include "tests/support/sampled.h"

using namespace nemo;

namespace {

constexpr double kMostSeconds = 10;

// Ranks 0 and 1 on the first host, 2 and 3 on the second, as torchrun starts them. Rank 1 knows its
// host as loopback, as Debian makes hosts know their names.
std::vector<std::unique_ptr<JobProcess>> start_ranks(const TwoHosts& hosts,
                                                     const std::string& words, int port = 29500) {
  std::vector<std::unique_ptr<JobProcess>> ranks;
  for (int rank : {0, 1, 2, 3})
    ranks.push_back(hosts.run_on(static_cast<size_t>(rank / 2), [&] {
      const std::string address = rank == 1 ? "127.0.0.1" : TwoHosts::address(0);
      return std::make_unique<JobProcess>(words, torchrun(rank, 4, port, address));
    }));
  return ranks;
}

bool skip() {
  if (TwoHosts::are_permitted()) return false;
  MESSAGE(
      "skipped: this process may not make network namespaces; root may, in most containers not");
  return true;
}

}  // namespace

TEST_CASE("two hosts compute what threads compute, bit for bit") {
  if (skip()) return;
  const TwoHosts hosts;
  // Groups within hosts and between them, and such as span both.
  const std::string llama = "llama_tiny ", mixtral = "mixtral_tiny ", gpt = "gpt_tiny ";
  const std::string sp = "sequence_parallel=true ";
  const std::string layouts[] = {llama + "dp_size=4",
                                 llama + "tp_size=2 dp_size=2",
                                 llama + "tp_size=4 dp_size=1",
                                 llama + "pp_size=4 dp_size=1",
                                 llama + "cp_size=4 dp_size=1",
                                 llama + sp + "tp_size=2 cp_size=2 dp_size=1",
                                 gpt + "pp_size=2 parallel.pp_schedule=zero_bubble dp_size=2",
                                 gpt + "pp_size=2 cp_size=2 parallel.cp_comm_type=a2a dp_size=1",
                                 mixtral + "dp_size=4 ep_size=4",
                                 mixtral + "cp_size=2 dp_size=2 ep_size=2 etp_size=2",
                                 mixtral + sp + "tp_size=2 pp_size=2 dp_size=1",
                                 mixtral + sp + "tp_size=2 dp_size=2 ep_size=4 etp_size=1"};
  for (size_t i = 0; i < std::size(layouts); ++i) {
    if (test::left_out(i, 4)) continue;
    const std::string& layout = layouts[i];
    CAPTURE(layout);
    const RunFolder threads, both;
    auto words = [&](const RunFolder& folder) {
      return "pretrain --recipe " + layout +
             " data.kind=mock data.seq_length=32 data.global_batch_size=8 "
             "data.micro_batch_size=1 trainer.max_steps=3 trainer.val_check_interval=2 "
             "trainer.threads_per_rank=1 log.dir='" +
             folder.path().string() + "'";
    };
    CHECK(run_program(words(threads)).exit_code == 0);
    for (auto& rank : start_ranks(hosts, words(both))) {
      CHECK(rank->exit_code() == 0);
      CHECK(rank->errors().empty());
    }
    REQUIRE(threads.lines("step").size() == 3);
    CHECK(results(both) == results(threads));
  }
}

TEST_CASE("a task for each host starts the host's ranks") {
  if (skip()) return;
  const TwoHosts hosts;
  const RunFolder threads, both;
  CHECK(run_program(threads.pretrain("trainer.devices=4")).exit_code == 0);
  std::vector<std::unique_ptr<JobProcess>> tasks;
  for (size_t host : {0, 1})
    tasks.push_back(hosts.run_on(host, [&] {
      return std::make_unique<JobProcess>(
          both.pretrain("trainer.devices=2 trainer.num_nodes=2"),
          "export SLURM_JOB_ID=7 SLURM_STEP_NUM_TASKS=2 SLURM_STEP_NUM_NODES=2 SLURM_NTASKS=2 "
          "SLURM_STEP_NODELIST=192.168.77.1,192.168.77.2 SLURM_LOCALID=0 SLURM_PROCID=" +
              std::to_string(host) + ";");
    }));
  for (auto& task : tasks) {
    CHECK(task->exit_code() == 0);
    CHECK(task->errors() == std::vector<std::string>{});
  }
  auto of_both = results(both);
  REQUIRE(of_both.size() > 0);
  CHECK(of_both == results(threads));
}

TEST_CASE("a host that is lost, with all that runs on it, ends the other within 10 s") {
  if (skip()) return;
  struct Job {
    int lost;  // host
    TwoHosts hosts = {};
    RunFolder folder = {};
    std::vector<std::unique_ptr<JobProcess>> ranks = {};
    Clock::time_point start = {};
  };
  std::array<Job, 2> jobs = {Job{0}, Job{1}};
  for (Job& job : jobs) {
    job.ranks = start_ranks(
        job.hosts, job.folder.pretrain("data.global_batch_size=8 trainer.max_steps=1000000000"));
    REQUIRE(is_training(job.folder));
    job.hosts.cut();
    job.start = Clock::now();
    for (int rank : {0, 1}) kill(pid_of(job.folder, 2 * job.lost + rank), SIGKILL);
  }
  for (Job& job : jobs)
    for (int rank : {0, 1, 2, 3}) {
      JobProcess& process = *job.ranks.at(static_cast<size_t>(rank));
      const bool is_lost = rank / 2 == job.lost;
      CHECK(process.exit_code() == (is_lost ? 128 + SIGKILL : 4));
      CHECK(seconds_since(job.start) < kMostSeconds);
      if (is_lost) continue;
      const auto errors = process.errors();
      REQUIRE(errors.size() == 1);
      CAPTURE(errors[0]);
      if (job.lost == 0)
        CHECK(errors[0].starts_with(name_of(job.folder, 0) + ": lost; its store at 192.168.77.1:"));
      else
        CHECK((errors[0].starts_with(name_of(job.folder, 2) + ": lost; ") ||
               errors[0].starts_with(name_of(job.folder, 3) + ": lost; ")));
    }
}

// tp groups within the hosts, by shared memory; dp groups between them, by messages.
TEST_CASE("a rank that hangs is named on both hosts, not those that wait for it") {
  if (skip()) return;
  const TwoHosts hosts;
  std::array<RunFolder, 4> folders;
  std::vector<std::vector<std::unique_ptr<JobProcess>>> jobs;
  for (size_t i = 0; i < folders.size(); ++i) {
    const RunFolder& folder = folders.at(i);
    jobs.push_back(start_ranks(hosts,
                               folder.pretrain("data.global_batch_size=8 tp_size=2 dp_size=2 "
                                               "trainer.max_steps=1000000000 "
                                               "trainer.comm_timeout_s=3"),
                               29500 + static_cast<int>(i)));
    REQUIRE(is_training(folder));
    kill(pid_of(folder, static_cast<int>(i)), SIGSTOP);
  }
  for (size_t i = 0; i < folders.size(); ++i)
    for (size_t rank = 0; rank < 4; ++rank) {
      if (rank == i) continue;
      JobProcess& process = *jobs.at(i).at(rank);
      CHECK(process.exit_code() == 4);
      const auto errors = process.errors();
      REQUIRE(errors.size() == 1);
      CAPTURE(errors[0]);
      CHECK(errors[0].find(": rank " + std::to_string(i) + " ") != std::string::npos);
      CHECK(errors[0].find(" within 3 s; ") != std::string::npos);
    }
}
