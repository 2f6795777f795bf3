// The step loop of one rank.
#pragma once

#include <atomic>
#include <cstdint>

#include "lib/comm/communicator.h"
#include "lib/core/clock.h"
#include "lib/data/batch.h"
#include "lib/nn/zigzag.h"
#include "lib/optim/loss_scaler.h"
#include "lib/parallel/parallelize.h"
#include "lib/recipe/resolve.h"
#include "lib/train/batch_buffers.h"
#include "lib/train/metrics.h"
#include "lib/train/rank_trace.h"

namespace nemo {

// What all ranks of a process share.
struct TrainInputs {
  const ResolvedRecipe& run;
  const Dataset& dataset;
  // Used by rank 0 alone; null in a process without it.
  MetricsWriter* metrics;
  // The signal that asked for a stop, 0 = none; set from a signal handler.
  const std::atomic<int>& stop_signal;
  Clock::time_point process_start;
};

// What one step came to, the same on every rank.
struct TrainStep {
  double loss;
  double grad_norm;  // before clipping
  double lr;
  int stop_signal;  // that some rank was sent, 0 = none
  bool skipped;     // not finite: nothing was updated
  // It was skipped because scaled gradients overflowed, which a smaller scale mends.
  bool overflowed;
  double loss_scale;  // that the step used
};

enum class EndReason { kMaxSteps, kSignal, kDiverged };

struct TrainResult {
  int64_t last_step;  // 0 = a signal came before the first
  EndReason reason;
  TrainStep step;  // of kSignal and kDiverged: the last
};

// One rank's training run.
class Trainer {
 public:
  // Builds this rank's share of the model and fills its weights. Belongs to the calling thread;
  // inputs and world must outlive it.
  Trainer(const TrainInputs& inputs, Communicator& world);

  // Trains until max_steps, a stop or divergence; the same result on every rank.
  TrainResult run();

  // One optimizer step on the next samples. Its gradients stay readable until the next one.
  TrainStep train_step();

  const ParallelModel& model() const { return model_; }
  const MemoryReport& memory() const { return arena_.report(); }
  const MemoryReport& host_memory() const { return host_arena_.report(); }

 private:
  TrainResult run_steps();
  const MicroBatch& read_microbatch(int64_t microbatch);
  void log(int64_t step_number, const TrainStep& step, double step_time_s);
  // Returns the signal that ended it early, after one of its batches; 0 = none.
  int evaluate(int64_t step_number);
  // Collective: the signal that some rank was sent, 0 = none.
  int agree_on_stop();
  void check_printed(const std::error_code& error) const;
  int64_t peak_memory();
  // Of all dp ranks.
  int64_t microbatches_per_step() const;
  Context context(bool training);
  Trace* trace() { return trace_ ? &trace_->spans() : nullptr; }

  const TrainInputs& inputs_;
  const Recipe& recipe_;
  std::unique_ptr<RankTrace> trace_;  // of log.trace
  std::unique_ptr<Communicator> observed_;
  Communicator& world_;
  Arena arena_;
  Stream stream_;
  Arena host_arena_;  // of what parallel.cpu_offload moves there
  Stream host_;
  DeviceMesh mesh_;
  ParallelModel model_;
  std::array<Range, 2> columns_;  // of each sample, on this cp rank
  BatchSampler sampler_;
  BatchBuffers buffers_;
  Tensor loss_sum_;  // [1] fp64
  int64_t tokens_per_step_;
  LossScaler loss_scaler_;
  int64_t num_updates_ = 0;
  int64_t consumed_samples_ = 0;
  int64_t held_microbatch_ = -1;  // whose tokens are in the buffers
};

}  // namespace nemo
