#include "lib/launch/environment.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>

#include "lib/core/error.h"

namespace nemo {
namespace {

constexpr int kMostTasks = 1 << 20;
constexpr int kFirstPort = 20000;
constexpr int kNumPorts = 20000;
constexpr const char* kParent = "NEMO_CPP_LAUNCHER";

// Reads what one launcher sets.
class LauncherVariables {
 public:
  // `sets`: the variables it sets, as a message lists them; `sign`: the one that tells it is there.
  LauncherVariables(const Variables& variables, std::string sets, std::string sign)
      : variables_(variables), sets_(std::move(sets)), sign_(std::move(sign)) {}

  // Nothing where it is not set, or empty.
  std::optional<std::string> find(std::string_view name) const {
    const auto found = variables_.find(name);
    if (found == variables_.end() || found->second.empty()) return std::nullopt;
    return found->second;
  }
  std::string text(std::string_view name) const {
    const auto value = find(name);
    if (!value)
      throw_usage("[{}] not set, but {} is {}; {} are set together, or none of them", name, sign_,
                  find(sign_).value_or(""), sets_);
    return *value;
  }
  int number(std::string_view name, int least, int most) const {
    return checked(name, text(name), least, most);
  }
  int number_or(std::string_view name, int least, int most, int otherwise) const {
    const auto value = find(name);
    return value ? checked(name, *value, least, most) : otherwise;
  }

 private:
  int checked(std::string_view name, const std::string& text, int least, int most) const {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < least || value > most)
      throw_usage("[{}] {} is not one of {} to {}; see how {} was set", name, text, least, most,
                  sets_);
    return static_cast<int>(value);
  }

  const Variables& variables_;
  std::string sets_;
  std::string sign_;
};

// A port that the tasks of one job agree on and other jobs as a rule do not.
int port_of_job(std::string_view job) {
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(job.data(), job.data() + job.size(), number);
  if (error != std::errc() || end != job.data() + job.size()) {  // a word
    number = 0;
    for (const char c : job) number = number * 31 + static_cast<unsigned char>(c);
  }
  return kFirstPort + static_cast<int>(number % kNumPorts);
}

constexpr const char* kTorchrunSets =
    "torchrun's RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT";

LaunchedTask from_torchrun(const Variables& variables) {
  const LauncherVariables of(variables, kTorchrunSets, "RANK");
  LaunchedTask task;
  task.launcher = "torchrun";
  task.num_tasks = of.number("WORLD_SIZE", 1, kMostTasks);
  task.task = of.number("RANK", 0, task.num_tasks - 1);
  task.local_task = of.number("LOCAL_RANK", 0, task.num_tasks - 1);
  task.num_nodes = of.number_or("GROUP_WORLD_SIZE", 1, task.num_tasks, 0);
  task.store = {of.text("MASTER_ADDR"), of.number("MASTER_PORT", 1, 65535)};
  task.parent = of.number_or(kParent, 1, std::numeric_limits<int>::max(), 0);
  // At MASTER_PORT there is a store of torchrun's own then, which does not speak our language.
  const bool is_taken = of.find("TORCHELASTIC_USE_AGENT_STORE") == "True";
  if (is_taken && task.parent == 0) ++task.store.port;
  return task;
}

// Not what a batch script has, in which nothing but the script was started.
bool is_slurm_step(const LauncherVariables& of) {
  return of.number_or("SLURM_STEP_NUM_TASKS", 1, kMostTasks, 1) > 1 ||
         (!of.find("SLURM_STEP_NUM_TASKS") && of.find("SLURM_STEP_NODELIST") &&
          of.number_or("SLURM_NTASKS", 1, kMostTasks, 1) > 1);
}

StoreAddress slurm_store(const LauncherVariables& of) {
  const auto host = of.find("MASTER_ADDR");
  const auto port = of.number_or("MASTER_PORT", 1, 65535, 0);
  return {host ? *host : first_host(of.text("SLURM_STEP_NODELIST")),
          port ? port : port_of_job(of.text("SLURM_JOB_ID"))};
}

LaunchedTask from_slurm(const LauncherVariables& of) {
  LaunchedTask task;
  task.launcher = "Slurm";
  task.num_tasks = of.find("SLURM_STEP_NUM_TASKS")
                       ? of.number("SLURM_STEP_NUM_TASKS", 1, kMostTasks)
                       : of.number("SLURM_NTASKS", 1, kMostTasks);
  task.task = of.number("SLURM_PROCID", 0, task.num_tasks - 1);
  task.local_task = of.number("SLURM_LOCALID", 0, task.num_tasks - 1);
  task.num_nodes = of.number_or("SLURM_STEP_NUM_NODES", 1, task.num_tasks, 0);
  task.cores_per_task = of.number_or("SLURM_CPUS_PER_TASK", 1, kMostTasks, 0);
  task.store = slurm_store(of);
  return task;
}

// OpenMPI names no host that all tasks know, so on several nodes the user, or Slurm around it,
// must.
StoreAddress openmpi_store(const LauncherVariables& of, bool one_node) {
  const auto host = of.find("MASTER_ADDR");
  const auto port = of.number_or("MASTER_PORT", 1, 65535, 0);
  if (host && port) return {*host, port};
  if (of.find("SLURM_JOB_NODELIST") && of.find("SLURM_JOB_ID"))
    return {host ? *host : first_host(of.text("SLURM_JOB_NODELIST")),
            port ? port : port_of_job(of.text("SLURM_JOB_ID"))};
  if (const auto job = of.find("PMIX_NAMESPACE"); job && one_node)
    return {host ? *host : "127.0.0.1", port ? port : port_of_job(*job)};
  throw_usage(
      "[{}] not set, and OpenMPI does not say where rank 0 runs; mpirun -x MASTER_ADDR=HOST -x "
      "MASTER_PORT=29500 would do",
      host ? "MASTER_PORT" : "MASTER_ADDR");
}

LaunchedTask from_openmpi(const Variables& variables) {
  const LauncherVariables of(
      variables,
      "OpenMPI's OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE and OMPI_COMM_WORLD_LOCAL_RANK",
      "OMPI_COMM_WORLD_RANK");
  LaunchedTask task;
  task.launcher = "OpenMPI";
  task.num_tasks = of.number("OMPI_COMM_WORLD_SIZE", 1, kMostTasks);
  task.task = of.number("OMPI_COMM_WORLD_RANK", 0, task.num_tasks - 1);
  task.local_task = of.number("OMPI_COMM_WORLD_LOCAL_RANK", 0, task.num_tasks - 1);
  const bool one_node =
      of.number_or("OMPI_COMM_WORLD_LOCAL_SIZE", 1, task.num_tasks, 0) == task.num_tasks;
  if (one_node) task.num_nodes = 1;
  task.store = openmpi_store(of, one_node);
  return task;
}

}  // namespace

std::optional<LaunchedTask> find_launcher(const Variables& variables) {
  const LauncherVariables torchrun(variables, kTorchrunSets, "WORLD_SIZE");
  if (torchrun.find("RANK")) return from_torchrun(variables);
  const LauncherVariables slurm(
      variables,
      "Slurm's SLURM_PROCID, SLURM_LOCALID, SLURM_STEP_NUM_TASKS, SLURM_STEP_NODELIST and "
      "SLURM_JOB_ID",
      "SLURM_STEP_NUM_TASKS");
  if (is_slurm_step(slurm)) return from_slurm(slurm);
  if (variables.contains("OMPI_COMM_WORLD_RANK")) return from_openmpi(variables);
  // Of a launcher whose RANK got lost: each task would run all by itself.
  if (torchrun.find("LOCAL_RANK") && torchrun.number_or("WORLD_SIZE", 1, kMostTasks, 1) > 1)
    torchrun.text("RANK");
  return std::nullopt;
}

Variables variables_of(const LaunchedTask& rank, const Variables& variables) {
  Variables result = variables;
  result["RANK"] = std::to_string(rank.task);
  result["WORLD_SIZE"] = std::to_string(rank.num_tasks);
  result["LOCAL_RANK"] = std::to_string(rank.local_task);
  result["GROUP_WORLD_SIZE"] = std::to_string(rank.num_nodes);
  result["MASTER_ADDR"] = rank.store.host;
  result["MASTER_PORT"] = std::to_string(rank.store.port);
  result[kParent] = std::to_string(rank.parent);
  return result;
}

// Each bracket gives its first number: rack[2-3]node[07,09] begins with rack2node07.
std::string first_host(std::string_view hosts) {
  std::string host;
  bool in_bracket = false;
  bool is_first = true;
  for (const char c : hosts) {
    if (c == '[') {
      in_bracket = is_first = true;
    } else if (c == ']') {
      in_bracket = false;
    } else if (!in_bracket && c == ',') {
      break;
    } else if (in_bracket && (c == ',' || c == '-')) {
      is_first = false;
    } else if (!in_bracket || is_first) {
      host += c;
    }
  }
  return host;
}

}  // namespace nemo
