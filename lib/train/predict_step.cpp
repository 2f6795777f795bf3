#include "lib/train/predict_step.h"

#include <algorithm>

#include "lib/comm/record/record_communicator.h"
#include "lib/core/math.h"
#include "lib/nn/zigzag.h"
#include "lib/train/batch_buffers.h"
#include "lib/train/step.h"

namespace nemo {

namespace {

// A step as short as shows all that its schedule comes to.
struct ShortStep {
  Recipe recipe;
  Range period;         // of the rank's rows
  int64_t num_missing;  // how often less than the whole step it runs the period
};

ShortStep shortened(const ResolvedRecipe& run, int64_t pp_rank) {
  const ParallelConfig& parallel = run.recipe.parallel;
  const PipelineShape shape = pipeline_shape(parallel, run.sizes.num_microbatches);
  const Repetition repeats = repetition(parallel.pp_schedule, shape);
  const Rows rows = training_rows(parallel.pp_schedule, shape, narrow<int>(pp_rank));
  ShortStep step{run.recipe, rows.period(), repeats.num_repeats};
  int num_microbatches = repeats.shortened.num_microbatches;
  if (step.num_missing > 0) {  // one more, so that no gradient becomes final in the first
    --step.num_missing;
    num_microbatches += repeats.shortened.group_size;
  }
  step.recipe.data.global_batch_size =
      num_microbatches * run.recipe.data.micro_batch_size * run.sizes.dp;
  return step;
}

// One rank's share of a run on a device that only counts.
class RecordedRank {
 public:
  RecordedRank(const ResolvedRecipe& run, int rank)
      : record_("world", rank, narrow<int>(run.sizes.world)),
        mesh_(*world_, Grid(run.sizes)),
        step_(shortened(run, mesh_.coordinate(Axis::kPp))),
        stream_(arena_, narrow<int>(run.recipe.trainer.threads_per_rank), detect_cpu_isa()),
        host_(host_arena_, stream_.num_threads(), stream_.isa()),
        model_(parallelize(step_.recipe, mesh_, stream_, host_)),
        buffers_(
            arena_, run.recipe.data.micro_batch_size,
            zigzag_columns(run.recipe.data.seq_length, run.sizes.cp, mesh_.coordinate(Axis::kCp))) {
  }

  StepPrediction step() {
    Context ctx = {.stream = stream_,
                   .weights = model_.state->weights(),
                   .grads = model_.state->grads(),
                   .mesh = mesh_,
                   .sequence_parallel = step_.recipe.parallel.sequence_parallel,
                   .cp_comm_type = step_.recipe.parallel.cp_comm_type,
                   .loss_sum = Tensor(arena_, DType::kF64, {1}, MemoryCategory::kWorkspace, "loss"),
                   .routers = model_.routers ? &*model_.routers : nullptr,
                   .activation_dtype = step_.recipe.precision.output_dtype};
    traffic_ = {};  // without the making of groups
    Traffic before, after;
    int64_t row = 0;
    const auto batch = [&](int64_t) -> const MicroBatch& {  // asked for before each row
      if (row == step_.period.begin) before = traffic_;
      if (row == step_.period.end) after = traffic_;
      ++row;
      return buffers_.batch();
    };
    run_step(ctx, model_, batch, 0);
    model_.optimizer->step(0, 1);
    model_.state->weights().publish();
    model_.state->weights().settle();
    traffic_.add(before, after, step_.num_missing);
    return {arena_.report(), host_arena_.report(), traffic_};
  }

 private:
  Arena arena_{Device{DeviceKind::kRecord}, Arena::kUnlimited};
  Traffic traffic_;
  RecordCommunicator record_;
  std::unique_ptr<Communicator> world_ = counted(record_, traffic_);
  DeviceMesh mesh_;
  ShortStep step_;
  Stream stream_;
  Arena host_arena_{Device{DeviceKind::kRecord}, Arena::kUnlimited};
  Stream host_;
  ParallelModel model_;
  BatchBuffers buffers_;
};

}  // namespace

StepPrediction predict_step(const ResolvedRecipe& run, int rank) {
  return RecordedRank(run, rank).step();
}

namespace {

// Ranks along dp hold the same and send as much. Along tp the first holds and sends the most: where
// something is not cut evenly, the last parts are smaller. Along cp they send as much, but hold
// more or less with the halves of blocks that they see: earlier ranks' keys, or a half of the
// queries for later ranks. In a ring of five or more the middle rank meets both kinds while the
// ring is fullest.
bool is_typical(const Grid& grid, int rank) {
  const int64_t cp = grid.size(Axis::kCp);
  return grid.coordinate(Axis::kDp, rank) == 0 && grid.coordinate(Axis::kTp, rank) == 0 &&
         (cp < 5 || grid.coordinate(Axis::kCp, rank) == cp / 2);
}

}  // namespace

std::vector<StagePrediction> predict_stages(const ResolvedRecipe& run) {
  const Grid grid(run.sizes);
  std::vector<StagePrediction> stages(static_cast<size_t>(run.sizes.pp));
  for (int rank = 0; rank < narrow<int>(grid.world()); ++rank) {
    if (!is_typical(grid, rank)) continue;
    auto& [fullest, busiest] = stages[static_cast<size_t>(grid.coordinate(Axis::kPp, rank))];
    StepPrediction step = predict_step(run, rank);
    if (step.peak_total() > fullest.peak_total()) fullest = {rank, step.memory, step.host};
    if (busiest.traffic.groups().empty() || step.traffic.bytes() > busiest.traffic.bytes())
      busiest = {rank, std::move(step.traffic)};
  }
  return stages;
}

int64_t num_predicted_passes(const ResolvedRecipe& run) {
  const Grid grid(run.sizes);
  const Recipe recipe = shortened(run, 0).recipe;
  const int64_t num_microbatches =
      recipe.data.global_batch_size / (recipe.data.micro_batch_size * run.sizes.dp);
  int64_t num_ranks = 0;  // of each stage
  for (int64_t rank = 0; rank < grid.world() / run.sizes.pp; ++rank)
    if (is_typical(grid, narrow<int>(rank))) ++num_ranks;
  return recipe.model.num_layers * num_microbatches * num_ranks * run.sizes.cp;
}

int64_t predict_peak_memory(const ResolvedRecipe& run) {
  int64_t peak = 0;
  for (const StagePrediction& stage : predict_stages(run))
    peak = std::max(peak, stage.fullest.peak_total());
  return peak;
}

}  // namespace nemo
