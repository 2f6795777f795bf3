#include "lib/launch/environment.h"

#include <doctest/doctest.h>

#include "lib/core/error.h"

using namespace nemo;

namespace {

const Variables kTorchrun = {{"RANK", "5"},
                             {"WORLD_SIZE", "8"},
                             {"LOCAL_RANK", "1"},
                             {"MASTER_ADDR", "node0"},
                             {"MASTER_PORT", "29500"}};

const Variables kSlurm = {{"SLURM_JOB_ID", "1234567"},   {"SLURM_STEP_NUM_TASKS", "8"},
                          {"SLURM_STEP_NUM_NODES", "2"}, {"SLURM_STEP_NODELIST", "node[03-04]"},
                          {"SLURM_NTASKS", "8"},         {"SLURM_PROCID", "6"},
                          {"SLURM_LOCALID", "2"}};

const Variables kOpenMpi = {{"OMPI_COMM_WORLD_RANK", "2"},
                            {"OMPI_COMM_WORLD_SIZE", "4"},
                            {"OMPI_COMM_WORLD_LOCAL_RANK", "2"},
                            {"OMPI_COMM_WORLD_LOCAL_SIZE", "4"},
                            {"PMIX_NAMESPACE", "3512795137"}};

// `variables` with some set otherwise; an empty value removes one.
Variables with(Variables variables, const Variables& others) {
  for (const auto& [name, value] : others) variables[name] = value;
  std::erase_if(variables, [](const auto& variable) { return variable.second.empty(); });
  return variables;
}

LaunchedTask task_of(const Variables& variables) {
  const auto task = find_launcher(variables);
  REQUIRE(task);
  return *task;
}

std::string error_of(const Variables& variables) {
  try {
    find_launcher(variables);
  } catch (const UserError& e) {
    CHECK(e.code() == ExitCode::kUsage);
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("a process that nobody launched") {
  CHECK_FALSE(find_launcher({}));
  CHECK_FALSE(find_launcher({{"HOME", "/root"}, {"WORLD_SIZE", "4"}, {"MASTER_ADDR", "node0"}}));
}

TEST_CASE("torchrun") {
  const LaunchedTask expected = {.launcher = "torchrun",
                                 .task = 5,
                                 .num_tasks = 8,
                                 .local_task = 1,
                                 .store = {"node0", 29500}};
  CHECK(task_of(kTorchrun) == expected);
  CHECK_FALSE(task_of(kTorchrun).may_be_node());
  CHECK(task_of(with(kTorchrun, {{"GROUP_WORLD_SIZE", "2"}})).num_nodes == 2);
  // Its own store has the port; ours is at the next.
  CHECK(task_of(with(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "True"}})).store.port == 29501);
  CHECK(task_of(with(kTorchrun, {{"TORCHELASTIC_USE_AGENT_STORE", "False"}})).store.port == 29500);
}

TEST_CASE("torchrun's variables that are missing or cannot be") {
  const std::string sets = "torchrun's RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT";
  for (const char* name : {"WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"})
    CHECK(error_of(with(kTorchrun, {{name, ""}})) ==
          fmt::format("[{}] not set, but RANK is 5; {} are set together, or none of them", name,
                      sets));
  // A rank would train all by itself.
  CHECK(error_of(with(kTorchrun, {{"RANK", ""}})) ==
        fmt::format("[RANK] not set, but WORLD_SIZE is 8; {} are set together, or none of them",
                    sets));
  CHECK_FALSE(find_launcher(with(kTorchrun, {{"RANK", ""}, {"LOCAL_RANK", ""}})));
  CHECK_FALSE(find_launcher(with(kTorchrun, {{"RANK", ""}, {"WORLD_SIZE", "1"}})));
  struct Case {
    const char* name;
    const char* value;
    const char* range;
  };
  const Case cases[] = {{"RANK", "8", "0 to 7"},
                        {"RANK", "-1", "0 to 7"},
                        {"RANK", "two", "0 to 7"},
                        {"RANK", "1.5", "0 to 7"},
                        {"RANK", " 1", "0 to 7"},
                        {"WORLD_SIZE", "0", "1 to 1048576"},
                        {"LOCAL_RANK", "8", "0 to 7"},
                        {"WORLD_SIZE", "99999999999999999999", "1 to 1048576"},
                        {"MASTER_PORT", "0", "1 to 65535"},
                        {"MASTER_PORT", "65536", "1 to 65535"},
                        {"GROUP_WORLD_SIZE", "9", "1 to 8"}};
  for (const Case& c : cases)
    CHECK(error_of(with(kTorchrun, {{c.name, c.value}})) ==
          fmt::format("[{}] {} is not one of {}; see how {} was set", c.name, c.value, c.range,
                      sets));
}

TEST_CASE("a Slurm step") {
  const LaunchedTask expected = {.launcher = "Slurm",
                                 .task = 6,
                                 .num_tasks = 8,
                                 .local_task = 2,
                                 .num_nodes = 2,
                                 .store = {"node03", 20000 + 1234567 % 20000}};
  CHECK(task_of(kSlurm) == expected);
  CHECK(task_of(kSlurm).may_be_node());
  CHECK(task_of(with(kSlurm, {{"SLURM_CPUS_PER_TASK", "16"}})).cores_per_task == 16);
  // What a batch script exports for its step.
  CHECK(task_of(with(kSlurm, {{"MASTER_ADDR", "10.0.0.1"}, {"MASTER_PORT", "29500"}})).store ==
        StoreAddress{"10.0.0.1", 29500});
  CHECK(task_of(with(kSlurm, {{"MASTER_PORT", "29500"}})).store == StoreAddress{"node03", 29500});
  CHECK(task_of(with(kSlurm, {{"WORLD_SIZE", "4"}})).num_tasks == 8);
  // Where the step does not count its tasks.
  CHECK(task_of(with(kSlurm, {{"SLURM_STEP_NUM_TASKS", ""}, {"SLURM_NTASKS", "7"}})).num_tasks ==
        7);
}

TEST_CASE("what Slurm started alone is no rank of many") {
  // srun --pty bash
  CHECK_FALSE(find_launcher(with(kSlurm, {{"SLURM_STEP_NUM_TASKS", "1"}})));
  // A batch script that does not use srun.
  CHECK_FALSE(find_launcher({{"SLURM_JOB_ID", "1"},
                             {"SLURM_JOB_NODELIST", "node[1-2]"},
                             {"SLURM_NTASKS", "8"},
                             {"SLURM_PROCID", "0"},
                             {"SLURM_LOCALID", "0"}}));
}

TEST_CASE("Slurm's variables that are missing or cannot be") {
  for (const char* name : {"SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NODELIST", "SLURM_JOB_ID"})
    CHECK(error_of(with(kSlurm, {{name, ""}})) ==
          fmt::format("[{}] not set, but SLURM_STEP_NUM_TASKS is 8; Slurm's SLURM_PROCID, "
                      "SLURM_LOCALID, SLURM_STEP_NUM_TASKS, SLURM_STEP_NODELIST and SLURM_JOB_ID "
                      "are set together, or none of them",
                      name));
  CHECK(error_of(with(kSlurm, {{"SLURM_PROCID", "8"}}))
            .starts_with("[SLURM_PROCID] 8 is not one of 0 to 7; "));
  CHECK(error_of(with(kSlurm, {{"SLURM_STEP_NUM_TASKS", "many"}}))
            .starts_with("[SLURM_STEP_NUM_TASKS] many is not one of 1 to 1048576; "));
}

TEST_CASE("OpenMPI") {
  const LaunchedTask expected = {.launcher = "OpenMPI",
                                 .task = 2,
                                 .num_tasks = 4,
                                 .local_task = 2,
                                 .num_nodes = 1,
                                 .store = {"127.0.0.1", 20000 + 3512795137 % 20000}};
  CHECK(task_of(kOpenMpi) == expected);
  CHECK_FALSE(task_of(kOpenMpi).may_be_node());
  const Variables two_nodes = with(kOpenMpi, {{"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}});
  const LaunchedTask given =
      task_of(with(two_nodes, {{"MASTER_ADDR", "node0"}, {"MASTER_PORT", "29500"}}));
  CHECK(given.store == StoreAddress{"node0", 29500});
  CHECK(given.num_nodes == 0);
  // mpirun inside a Slurm job, whose batch script is no step.
  CHECK(task_of(with(two_nodes, {{"SLURM_JOB_ID", "42"}, {"SLURM_JOB_NODELIST", "node[7,9]"}}))
            .store == StoreAddress{"node7", 20042});
  CHECK(error_of(two_nodes) ==
        "[MASTER_ADDR] not set, and OpenMPI does not say where rank 0 runs; mpirun -x "
        "MASTER_ADDR=HOST -x MASTER_PORT=29500 would do");
  CHECK(error_of(with(two_nodes, {{"MASTER_ADDR", "node0"}})).starts_with("[MASTER_PORT] not set"));
  CHECK(error_of(with(kOpenMpi, {{"OMPI_COMM_WORLD_SIZE", ""}}))
            .starts_with("[OMPI_COMM_WORLD_SIZE] not set, but OMPI_COMM_WORLD_RANK is 2; "));
  CHECK(error_of(with(kOpenMpi, {{"OMPI_COMM_WORLD_RANK", "4"}}))
            .starts_with("[OMPI_COMM_WORLD_RANK] 4 is not one of 0 to 3; "));
}

TEST_CASE("the names of jobs give ports in range, the same in every task") {
  for (const char* job : {"prterun-host-123@1", "0", "18446744073709551615", "x"}) {
    const LaunchedTask task = task_of(with(kOpenMpi, {{"PMIX_NAMESPACE", job}}));
    CHECK(task.store.port >= 20000);
    CHECK(task.store.port < 40000);
    CHECK(task_of(with(kOpenMpi, {{"PMIX_NAMESPACE", job}, {"OMPI_COMM_WORLD_RANK", "0"}})).store ==
          task.store);
  }
}

TEST_CASE("of several launchers the inner one counts") {
  Variables all = kTorchrun;
  all.insert(kSlurm.begin(), kSlurm.end());
  all.insert(kOpenMpi.begin(), kOpenMpi.end());
  CHECK(task_of(all).launcher == "torchrun");
  CHECK(task_of(with(all, {{"RANK", ""}})).launcher == "Slurm");
  CHECK(task_of(with(all, {{"RANK", ""}, {"SLURM_STEP_NUM_TASKS", "1"}})).launcher == "OpenMPI");
}

TEST_CASE("a rank that nemo-cpp starts finds what it was given") {
  const LaunchedTask rank = {.launcher = "torchrun",
                             .task = 3,
                             .num_tasks = 4,
                             .local_task = 1,
                             .num_nodes = 2,
                             .store = {"127.0.0.1", 40001},
                             .parent = 4711};
  CHECK(task_of(variables_of(rank, {})) == rank);
  // Also inside other launchers, and with the variables of others kept.
  Variables outer = with(kSlurm, {{"TORCHELASTIC_USE_AGENT_STORE", "True"}, {"HOME", "/root"}});
  CHECK(task_of(variables_of(rank, outer)) == rank);
  CHECK(variables_of(rank, outer).at("HOME") == "/root");
}

TEST_CASE("the first of Slurm's hosts") {
  const std::pair<const char*, const char*> cases[] = {
      {"node3", "node3"},
      {"node3,node4", "node3"},
      {"node[3-5,7]", "node3"},
      {"node[007,9]", "node007"},
      {"gpu[10-12].cluster,x", "gpu10.cluster"},
      {"rack[2-3]node[07,09],a[1-2]", "rack2node07"},
      {"a-b-c", "a-b-c"},
      {"a-[1-2]-b,c", "a-1-b"}};
  for (const auto& [hosts, first] : cases) CHECK(first_host(hosts) == first);
}
