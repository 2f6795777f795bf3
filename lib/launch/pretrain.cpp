#include "lib/launch/pretrain.h"

#include <unistd.h>

#include <chrono>
#include <vector>

#include "lib/comm/operation.h"
#include "lib/launch/host_limits.h"
#include "lib/launch/prepare.h"
#include "lib/launch/run_log.h"
#include "lib/launch/thread_ranks.h"
#include "lib/recipe/runnable.h"

namespace nemo {
namespace {

static_assert(kMaxHostRanks == kMaxRanks);

// Trains on all ranks and returns rank 0's result, which is everybody's.
TrainResult train(const TrainInputs& inputs) {
  const ResolvedRecipe& run = inputs.run;
  TrainResult result{};
  run_thread_ranks(narrow<int>(run.sizes.world), comm_timeout(run.recipe),
                   [&](int rank, Communicator& world) {
                     const TrainResult mine = Trainer(inputs, world).run();
                     if (rank == 0) result = mine;
                   });
  return result;
}

}  // namespace

std::chrono::nanoseconds comm_timeout(const Recipe& recipe) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(recipe.trainer.comm_timeout_s));
}

int run_thread_pretrain(const ResolvedRecipe& run, const PretrainEnvironment& environment) {
  const PreparedRun prepared = prepare_run(run, run.sizes.world);
  check_address_space(narrow<int>(run.sizes.world), run.recipe.parallel.cpu_offload ? 2 : 1);
  if (const int signal = environment.stop_signal.load(); signal != 0)
    throw UserError(static_cast<ExitCode>(128 + signal),
                    fmt::format("stopped by signal {} before training began", signal));
  std::vector<Member> ranks;
  for (int rank = 0; rank < run.sizes.world; ++rank)
    ranks.push_back({rank, environment.host, getpid()});
  RunLog log(run, environment, std::move(ranks), prepared.predicted_peak);
  try {
    const TrainResult result = train({run, *prepared.dataset, &log.metrics(),
                                      environment.stop_signal, environment.process_start});
    log.end(result);
    return exit_code_of(result);
  } catch (const std::exception& e) {
    log.end(report_of(e).exit_code);
    throw;
  }
}

}  // namespace nemo
