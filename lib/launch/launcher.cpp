#include "lib/launch/launcher.h"

#include <unistd.h>

#include <memory>

#include "lib/comm/store/store.h"
#include "lib/comm/store/store_server.h"
#include "lib/launch/supervise.h"

namespace nemo {
namespace {

// Rank 0 has files to finish; on several nodes a lost host has taken most of the 10 s already.
constexpr std::chrono::milliseconds kGraceAlone{5000};
constexpr std::chrono::milliseconds kGraceOfNodes{1500};

std::unique_ptr<StoreServer> host_store(const LauncherInputs& inputs) {
  if (inputs.task && inputs.task->task != 0) return nullptr;
  const StoreAddress address = inputs.task ? inputs.task->store : StoreAddress{"127.0.0.1", 0};
  return std::make_unique<StoreServer>(
      address, inputs.world_size, inputs.timeout,
      fmt::format("the launcher (pid {}, host {})", getpid(), inputs.host));
}

std::vector<ChildProcess> start_ranks(const LauncherInputs& inputs, const StoreAddress& store) {
  std::vector<ChildProcess> ranks;
  for (int i = 0; i < inputs.plan.num_ranks; ++i) {
    ChildCommand command = inputs.rank_command;
    command.variables = variables_of({.launcher = "torchrun",
                                      .task = inputs.plan.first_rank + i,
                                      .num_tasks = inputs.world_size,
                                      .local_task = i,
                                      .num_nodes = inputs.task ? inputs.task->num_tasks : 1,
                                      .store = store,
                                      .parent = getpid()},
                                     command.variables);
    ranks.emplace_back(command);
  }
  return ranks;
}

}  // namespace

int run_launcher(const LauncherInputs& inputs) {
  const auto server = host_store(inputs);
  const StoreAddress address =
      inputs.task ? inputs.task->store : StoreAddress{"127.0.0.1", server->port()};
  bool has_ranks = false;  // to which the signal is passed on then
  const auto look_at_signal = [&] {
    if (const int signal = inputs.stop_signal.load(); signal != 0 && !has_ranks)
      throw UserError(static_cast<ExitCode>(128 + signal),
                      fmt::format("stopped by signal {} before training began", signal));
  };
  Store store(address, {.timeout = inputs.timeout, .while_waiting = look_at_signal});
  has_ranks = true;
  std::vector<ChildProcess> ranks = start_ranks(inputs, address);
  const int code = supervise(ranks, {.store = store,
                                     .first_rank = inputs.plan.first_rank,
                                     .host = inputs.host,
                                     .stop_signal = inputs.stop_signal,
                                     .grace = inputs.task ? kGraceOfNodes : kGraceAlone});
  if (const auto failure = store.failure()) throw UserError(failure->exit_code, failure->reason);
  return code;
}

}  // namespace nemo
