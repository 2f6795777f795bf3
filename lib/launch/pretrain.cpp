#include "lib/launch/pretrain.h"

#include <unistd.h>

#include <csignal>
#include <vector>

#include "lib/core/counted.h"
#include "lib/launch/thread_ranks.h"
#include "lib/model/param_count.h"
#include "lib/recipe/print.h"
#include "lib/train/predict_memory.h"
#include "lib/train/run_folder.h"

namespace nemo {
namespace {

StartRecord start_record(const ResolvedRecipe& run, const PretrainEnvironment& environment) {
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
  record.predicted_peak_memory_bytes = predict_memory(run.recipe).peak_total;
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

// Trains on all ranks and returns rank 0's result, which is everybody's.
TrainResult train(const ResolvedRecipe& run, const TrainInputs& inputs) {
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

}  // namespace

int run_pretrain(const ResolvedRecipe& run, const PretrainEnvironment& environment) {
  const Recipe& recipe = run.recipe;
  std::vector<Part> needed = {Part::kTrain};
  if (recipe.trainer.val_check_interval > 0) needed.push_back(Part::kValidation);
  const auto dataset = open_dataset(recipe.data, recipe.model.vocab_size,
                                    static_cast<uint64_t>(recipe.trainer.seed), needed);
  const std::filesystem::path dir = recipe.log.dir;
  prepare_run_folder(dir, recipe.checkpoint.dir);
  write_run_file(dir, "recipe.resolved.yaml", print_recipe(recipe));
  MetricsWriter metrics(dir, recipe.log.tensorboard);
  const StartRecord start = start_record(run, environment);
  metrics.write(start);
  environment.log.info(
      "{}: {} parameters on {} of one process, {} each ({}), {:.1f} MB a rank at most", run.name,
      start.num_parameters, counted(start.world, "rank"),
      counted(recipe.trainer.threads_per_rank, "compute thread"), to_string(detect_cpu_isa()),
      static_cast<double>(start.predicted_peak_memory_bytes) * 1e-6);

  const TrainInputs inputs = {run, *dataset, metrics, environment.stop_signal,
                              environment.process_start};
  const auto end = [&](int64_t step, const std::string& reason, int code) {
    metrics.write(EndRecord{step, reason, code, seconds_since(environment.process_start)});
    environment.log.info("{} after step {}; the run is in {}", reason, step, dir.string());
    return code;
  };
  try {
    const TrainResult result = train(run, inputs);
    return end(result.last_step, reason_of(result.reason),
               exit_code_of(result.reason, environment.stop_signal.load()));
  } catch (const UserError& e) {
    end(metrics.last_step(), "error", static_cast<int>(e.code()));
    throw;
  } catch (const std::exception&) {
    end(metrics.last_step(), "error", static_cast<int>(ExitCode::kInvariant));
    throw;
  }
}

}  // namespace nemo
