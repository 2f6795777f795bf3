// What launchers tell the processes they start, by environment variables. The application reads the
// environment; this says what it means.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "lib/comm/store/socket.h"

namespace nemo {

using Variables = std::map<std::string, std::string, std::less<>>;

// One of the tasks that a launcher started together.
struct LaunchedTask {
  std::string_view launcher;  // "torchrun", "Slurm", "OpenMPI"
  int task = 0;               // 0 to num_tasks - 1
  int num_tasks = 1;
  int local_task = 0;       // of its node
  int num_nodes = 0;        // 0 = the launcher does not say
  int cores_per_task = 0;   // likewise
  StoreAddress store = {};  // the same for all tasks: at the first one, unless there is a parent
  int64_t parent = 0;  // pid of the nemo-cpp that started this rank and hosts the store; 0 = none

  bool operator==(const LaunchedTask&) const = default;
  // Slurm starts a task for each rank, or one for each node, which starts the node's ranks.
  bool may_be_node() const { return launcher == "Slurm"; }
};

// The launcher that started this process: torchrun, a Slurm step of more than one task, OpenMPI, in
// this order; nothing where it was started plainly. A usage error where variables are missing or
// contradict each other.
std::optional<LaunchedTask> find_launcher(const Variables& variables);

// `variables`, and with them what find_launcher makes this rank of: torchrun's, and the parent.
Variables variables_of(const LaunchedTask& rank, const Variables& variables);

// "node3" of "node[3-5,7]" or "node3,node4": the first host of Slurm's way to write many.
std::string first_host(std::string_view hosts);

}  // namespace nemo
