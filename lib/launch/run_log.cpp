#include "lib/launch/run_log.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "lib/core/counted.h"
#include "lib/mesh/grid.h"
#include "lib/model/param_count.h"
#include "lib/model/state_memory.h"
#include "lib/recipe/print.h"
#include "lib/train/run_folder.h"

namespace nemo {
namespace {

StartRecord start_record(const ResolvedRecipe& run, const PretrainEnvironment& environment,
                         std::vector<Member> ranks, int64_t predicted_peak) {
  StartRecord record{};
  record.time = utc_now();
  record.version = environment.version;
  const Grid grid(run.sizes);
  for (Axis axis : {Axis::kTp, Axis::kCp, Axis::kDp, Axis::kPp, Axis::kEp, Axis::kEtp, Axis::kEdp,
                    Axis::kDpReplicate, Axis::kDpShard})
    record.mesh.emplace_back(to_string(axis), grid.size(axis));
  record.mesh.emplace_back("vpp", run.sizes.vpp);
  record.num_parameters = num_parameters(run.recipe.model);
  record.num_active_parameters = num_active_parameters(run.recipe.model);
  record.predicted_peak_memory_bytes = predicted_peak;
  record.first_step = 1;
  record.ranks = std::move(ranks);
  return record;
}

// "4 ranks of one process", "8 processes on 2 hosts"
std::string describe(const std::vector<Member>& ranks) {
  std::set<int64_t> pids;
  std::set<std::string> hosts;
  for (const Member& rank : ranks) {
    pids.insert(rank.pid);
    hosts.insert(rank.host);
  }
  if (pids.size() == 1 && hosts.size() == 1)
    return fmt::format("{} of one process", counted(std::ssize(ranks), "rank"));
  return fmt::format("{} processes on {}", ranks.size(), counted(std::ssize(hosts), "host"));
}

// "weights bf16 with fp32 masters, activations bf16, gradients sent as fp32"
std::string describe_precision(const Recipe& recipe) {
  const PrecisionConfig& p = recipe.precision;
  const bool rounded = p.param_dtype != DType::kF32 && !has_masters(recipe);
  return fmt::format(
      "weights {}{}, activations {}, gradients fp32{}, moments fp32", to_string(p.param_dtype),
      has_masters(recipe) ? " with fp32 masters"
      : rounded           ? " rounded at random"
                          : "",
      to_string(p.output_dtype),
      p.reduce_dtype == DType::kF32 ? "" : fmt::format(" sent as {}", to_string(p.reduce_dtype)));
}

std::string prepare_folder(const Recipe& recipe) {
  prepare_run_folder(recipe.log.dir, recipe.checkpoint.dir);
  write_run_file(recipe.log.dir, "recipe.resolved.yaml", print_recipe(recipe));
  return recipe.log.dir;
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

}  // namespace

RunLog::RunLog(const ResolvedRecipe& run, const PretrainEnvironment& environment,
               std::vector<Member> ranks, int64_t predicted_peak)
    : environment_(environment),
      dir_(prepare_folder(run.recipe)),
      metrics_(dir_, run.recipe.log.tensorboard) {
  const StartRecord start = start_record(run, environment, std::move(ranks), predicted_peak);
  metrics_.write(start);
  const bool has_experts = run.recipe.model.moe.num_experts > 0;
  environment.log.info("{}: {} parameters on {}, {} each ({}), {:.1f} MB a rank {}; {}", run.name,
                       start.num_parameters, describe(start.ranks),
                       counted(run.recipe.trainer.threads_per_rank, "compute thread"),
                       to_string(detect_cpu_isa()), static_cast<double>(predicted_peak) * 1e-6,
                       has_experts ? "if experts are chosen alike" : "at most",
                       describe_precision(run.recipe));
}

void RunLog::end(const TrainResult& result) {
  const std::string reason = reason_of(result.reason);
  const bool stopped = result.reason == EndReason::kSignal;
  write_end(result.last_step, reason, exit_code_of(result),
            stopped ? fmt::format("SIG{}", sigabbrev_np(result.step.stop_signal)) : reason);
  if (result.reason != EndReason::kDiverged) return;
  // Every rank knows and none is at fault, so this is no failure of the job: rank 0 says it.
  environment_.log.error(
      "error: [trainer.non_finite] step {} has loss {:.4f} and grad_norm {:.3f}, and the policy is "
      "stop; a smaller optim.lr would do, or skip, which leaves such steps out",
      result.last_step, std::abs(result.step.loss), std::abs(result.step.grad_norm));
}

void RunLog::end(ExitCode error) {
  try {
    write_end(metrics_.last_step(), "error", static_cast<int>(error), "error");
  } catch (const UserError&) {
  }
}

void RunLog::write_end(int64_t step, const std::string& reason, int exit_code,
                       const std::string& why) {
  metrics_.write(EndRecord{step, reason, exit_code, seconds_since(environment_.process_start)});
  environment_.log.info("{} {}; the run is in {}", why,
                        step > 0 ? fmt::format("after step {}", step) : "before the first step",
                        dir_);
}

int exit_code_of(const TrainResult& result) {
  switch (result.reason) {
    case EndReason::kMaxSteps:
      return static_cast<int>(ExitCode::kOk);
    case EndReason::kSignal:  // nothing is saved yet, so there is nothing to requeue
      return 128 + result.step.stop_signal;
    case EndReason::kDiverged:
      return static_cast<int>(ExitCode::kDiverged);
  }
  return static_cast<int>(ExitCode::kInvariant);
}

}  // namespace nemo
