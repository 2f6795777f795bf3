#include "lib/launch/pretrain.h"

#include <unistd.h>

#include <csignal>
#include <cstring>
#include <vector>

#include "lib/comm/shared/operation.h"
#include "lib/core/counted.h"
#include "lib/launch/host_limits.h"
#include "lib/launch/thread_ranks.h"
#include "lib/model/param_count.h"
#include "lib/recipe/print.h"
#include "lib/recipe/runnable.h"
#include "lib/train/initial_weights.h"
#include "lib/train/predict_memory.h"
#include "lib/train/run_folder.h"

namespace nemo {
namespace {

static_assert(kMaxThreadRanks == shared::kMaxRanks);

// Predicted bytes of a rank at its peak. A usage error where this host cannot run its ranks.
int64_t check_host(const ResolvedRecipe& run) {
  const Recipe& recipe = run.recipe;
  const Host host = this_host();
  check_compute_threads(recipe, host);
  check_memory(least_memory(run), recipe.trainer.devices, host);
  const int64_t peak = predict_peak_memory(run);
  check_memory(peak, recipe.trainer.devices, host);
  check_threads_start(recipe);
  return peak;
}

StartRecord start_record(const ResolvedRecipe& run, const PretrainEnvironment& environment,
                         int64_t predicted_peak) {
  StartRecord record{};
  record.time = utc_now();
  record.version = environment.version;
  record.world = narrow<int>(run.sizes.world);
  const Grid grid(run.sizes);
  for (Axis axis : {Axis::kTp, Axis::kCp, Axis::kDp, Axis::kPp, Axis::kEp, Axis::kEtp, Axis::kEdp,
                    Axis::kDpReplicate, Axis::kDpShard})
    record.mesh.emplace_back(to_string(axis), grid.size(axis));
  record.mesh.emplace_back("vpp", run.sizes.vpp);
  record.num_parameters = num_parameters(run.recipe.model);
  record.num_active_parameters = num_active_parameters(run.recipe.model);
  record.predicted_peak_memory_bytes = predicted_peak;
  record.first_step = 1;
  record.host = environment.host;
  record.pid = getpid();
  return record;
}

std::string reason_of(EndReason reason) {
  switch (reason) {
    case EndReason::kMaxSteps:
      return "max_steps";
    case EndReason::kSignal:
      return "signal";
    case EndReason::kDiverged:
      return "diverged";
  }
  return "error";
}

int exit_code_of(EndReason reason, int signal) {
  switch (reason) {
    case EndReason::kMaxSteps:
      return static_cast<int>(ExitCode::kOk);
    case EndReason::kSignal:  // nothing is saved yet, so there is nothing to requeue
      return 128 + signal;
    case EndReason::kDiverged:
      return static_cast<int>(ExitCode::kDiverged);
  }
  return static_cast<int>(ExitCode::kInvariant);
}

// "SIGTERM"
std::string name_of(int signal) {
  return fmt::format("SIG{}", sigabbrev_np(signal));
}

// Trains on all ranks and returns rank 0's result, which is everybody's.
TrainResult train(const TrainInputs& inputs) {
  const ResolvedRecipe& run = inputs.run;
  TrainResult result{};
  const std::chrono::duration<double> timeout(run.recipe.trainer.comm_timeout_s);
  run_thread_ranks(narrow<int>(run.sizes.world),
                   std::chrono::duration_cast<std::chrono::nanoseconds>(timeout),
                   [&](int rank, Communicator& world) {
                     const TrainResult mine = Trainer(inputs, world).run();
                     if (rank == 0) result = mine;
                   });
  return result;
}

// Trains, writes how it ended, and returns the exit code or throws what went wrong.
int train_to_the_end(const TrainInputs& inputs, const PretrainEnvironment& environment) {
  const auto end = [&](int64_t step, const std::string& reason, int code) {
    inputs.metrics.write(EndRecord{step, reason, code, seconds_since(environment.process_start)});
    const std::string why = reason == "signal" ? name_of(environment.stop_signal.load()) : reason;
    environment.log.info("{} after step {}; the run is in {}", why, step,
                         inputs.run.recipe.log.dir);
    return code;
  };
  // The error counts, whether or not the line about it can be written.
  const auto fail = [&](ExitCode code) {
    try {
      end(inputs.metrics.last_step(), "error", static_cast<int>(code));
    } catch (const UserError&) {
    }
  };
  try {
    const TrainResult result = train(inputs);
    return end(result.last_step, reason_of(result.reason),
               exit_code_of(result.reason, environment.stop_signal.load()));
  } catch (const UserError& e) {
    fail(e.code());
    throw;
  } catch (const std::exception&) {
    fail(ExitCode::kInvariant);
    throw;
  }
}

}  // namespace

int run_pretrain(const ResolvedRecipe& run, const PretrainEnvironment& environment) {
  const Recipe& recipe = run.recipe;
  std::vector<Part> needed = {Part::kTrain};
  if (recipe.trainer.val_check_interval > 0) needed.push_back(Part::kValidation);
  const auto dataset = open_dataset(recipe.data, recipe.model.vocab_size,
                                    static_cast<uint64_t>(recipe.trainer.seed), needed);
  check_initial_weights(recipe);
  const int64_t predicted_peak = check_host(run);
  const std::filesystem::path dir = recipe.log.dir;
  prepare_run_folder(dir, recipe.checkpoint.dir);
  write_run_file(dir, "recipe.resolved.yaml", print_recipe(recipe));
  MetricsWriter metrics(dir, recipe.log.tensorboard);
  const StartRecord start = start_record(run, environment, predicted_peak);
  metrics.write(start);
  environment.log.info(
      "{}: {} parameters on {} of one process, {} each ({}), {:.1f} MB a rank at most", run.name,
      start.num_parameters, counted(start.world, "rank"),
      counted(recipe.trainer.threads_per_rank, "compute thread"), to_string(detect_cpu_isa()),
      static_cast<double>(start.predicted_peak_memory_bytes) * 1e-6);

  return train_to_the_end(
      {run, *dataset, metrics, environment.stop_signal, environment.process_start}, environment);
}

}  // namespace nemo
