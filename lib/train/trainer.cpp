#include "lib/train/trainer.h"

#include <algorithm>
#include <cmath>

#include "lib/device/host.h"
#include "lib/model/flops.h"
#include "lib/optim/clip.h"
#include "lib/optim/schedule.h"
#include "lib/train/initial_weights.h"
#include "lib/train/step.h"
#include "lib/train/terminal.h"

namespace nemo {

Trainer::Trainer(const TrainInputs& inputs, Communicator& world)
    : inputs_(inputs),
      recipe_(inputs.run.recipe),
      trace_(recipe_.log.trace ? std::make_unique<RankTrace>() : nullptr),
      observed_(trace_ ? observed(world, *trace_) : nullptr),
      world_(trace_ ? *observed_ : world),
      arena_(world.reserve_memory(host_memory_bytes())),
      stream_(arena_, narrow<int>(recipe_.trainer.threads_per_rank), detect_cpu_isa()),
      host_arena_(Device{}, recipe_.parallel.cpu_offload ? host_memory_bytes() : Arena::kAlignment),
      host_(host_arena_, stream_.num_threads(), stream_.isa()),
      mesh_(world_, Grid(inputs.run.sizes)),
      model_(parallelize(recipe_, mesh_, stream_, host_)),
      columns_(zigzag_columns(recipe_.data.seq_length, mesh_[Axis::kCp].size(),
                              mesh_[Axis::kCp].rank())),
      sampler_(inputs.dataset, recipe_.data, mesh_[Axis::kDp].size(), mesh_[Axis::kDp].rank(),
               columns_),
      buffers_(arena_, recipe_.data.micro_batch_size, columns_),
      loss_sum_(arena_, DType::kF64, {1}, MemoryCategory::kWorkspace, "loss_sum"),
      tokens_per_step_(recipe_.data.global_batch_size * recipe_.data.seq_length),
      loss_scaler_(recipe_) {
  load_initial_weights(stream_, recipe_, *model_.params, model_.state->weights());
}

Context Trainer::context(bool training) {
  return {.stream = stream_,
          .weights = model_.state->weights(),
          .grads = model_.state->grads(),
          .mesh = mesh_,
          .sequence_parallel = recipe_.parallel.sequence_parallel,
          .cp_comm_type = recipe_.parallel.cp_comm_type,
          .training = training,
          .loss_weight =
              static_cast<float>(loss_scaler_.scale() / static_cast<double>(tokens_per_step_)),
          .aux_loss_weight = loss_scaler_.scale() / static_cast<double>(microbatches_per_step()),
          .loss_sum = loss_sum_,
          .routers = model_.routers ? &*model_.routers : nullptr,
          .trace = trace(),
          .activation_dtype = recipe_.precision.output_dtype};
}

TrainResult Trainer::run() {
  if (trace_) trace_->start(world_);
  const TrainResult result = run_steps();
  model_.state->weights().settle();
  if (trace_) trace_->write(world_, stream_, std::filesystem::path(recipe_.log.dir) / "trace.json");
  return result;
}

TrainResult Trainer::run_steps() {
  TrainStep step{};
  step.stop_signal = agree_on_stop();
  if (step.stop_signal != 0) return {0, EndReason::kSignal, step};
  for (int64_t number = 1; number <= recipe_.trainer.max_steps; ++number) {
    const Clock::time_point start = Clock::now();
    step = train_step();
    const bool last = number == recipe_.trainer.max_steps || step.stop_signal != 0;
    if (last || step.skipped || number == 1 || number % recipe_.log.every == 0)
      log(number, step, seconds_since(start));
    if (step.skipped && !step.overflowed && recipe_.trainer.non_finite == NonFinite::kStop)
      return {number, EndReason::kDiverged, step};
    const int64_t interval = recipe_.trainer.val_check_interval;
    if (step.stop_signal == 0 && interval > 0 && (number % interval == 0 || last))
      step.stop_signal = evaluate(number);
    if (step.stop_signal != 0) return {number, EndReason::kSignal, step};
  }
  return {recipe_.trainer.max_steps, EndReason::kMaxSteps, {}};
}

TrainStep Trainer::train_step() {
  const TraceScope step_scope(trace(), "step", nullptr, num_updates_ + 1);
  Context ctx = context(/*training=*/true);
  held_microbatch_ = -1;
  const auto read = [this](int64_t m) -> const MicroBatch& { return read_microbatch(m); };
  const StepTotals totals = run_step(ctx, model_, read, inputs_.stop_signal.load());
  TrainStep step{};
  step.loss = item<double>(loss_sum_) / static_cast<double>(tokens_per_step_);
  step.loss_scale = loss_scaler_.scale();
  step.grad_norm = totals.grad_norm / step.loss_scale;
  step.stop_signal = totals.stop_signal;
  step.lr = learning_rate(recipe_.optim, num_updates_);
  step.skipped = !std::isfinite(step.loss) || !std::isfinite(step.grad_norm);
  // A loss that is not finite does not depend on the scale.
  step.overflowed = step.skipped && std::isfinite(step.loss) && loss_scaler_.can_halve();
  if (!step.skipped) {
    const TraceScope optimizer_scope(trace(), "optimizer");
    const double clip = clip_factor(step.grad_norm, recipe_.optim.clip_grad);
    model_.optimizer->step(step.lr, clip / step.loss_scale);
    model_.state->weights().publish();
    if (model_.routers) update_router_bias(stream_, *model_.routers, recipe_.model.moe);
    ++num_updates_;
  }
  if (!step.skipped || step.overflowed) loss_scaler_.update(step.overflowed);
  consumed_samples_ += recipe_.data.global_batch_size;
  return step;
}

int64_t Trainer::microbatches_per_step() const {
  return recipe_.data.global_batch_size / recipe_.data.micro_batch_size;
}

const MicroBatch& Trainer::read_microbatch(int64_t microbatch) {
  if (microbatch != held_microbatch_)
    sampler_.train(consumed_samples_, microbatch, buffers_.tokens(), buffers_.targets());
  held_microbatch_ = microbatch;
  return buffers_.batch();
}

int Trainer::agree_on_stop() {
  int32_t signal = inputs_.stop_signal.load();
  world_.all_reduce(Tensor(&signal, DType::kI32, {1}), ReduceOp::kMax, "stop").wait(stream_);
  return signal;
}

int Trainer::evaluate(int64_t step_number) {
  Context ctx = context(/*training=*/false);
  const int64_t num_samples = sampler_.num_validation_samples(recipe_.trainer.limit_val_batches);
  const int64_t rows = recipe_.data.micro_batch_size * mesh_[Axis::kDp].size();
  const int64_t num_microbatches = ceil_div(num_samples, rows);
  const int64_t of_a_batch = sampler_.num_microbatches();
  loss_sum_.data<double>()[0] = 0;
  for (int64_t begin = 0; begin < num_microbatches; begin += of_a_batch) {
    const int64_t count = std::min(of_a_batch, num_microbatches - begin);
    model_.pipeline->evaluate(ctx, count, [&](int64_t m) -> const MicroBatch& {
      sampler_.validation(num_samples, begin + m, buffers_.tokens(), buffers_.targets());
      return buffers_.batch();
    });
    if (const int signal = agree_on_stop(); signal != 0) return signal;
  }
  share_loss(ctx);
  if (world_.rank() != 0) return 0;
  const int64_t num_tokens = num_samples * recipe_.data.seq_length;
  const EvalRecord record = {step_number, item<double>(loss_sum_) / static_cast<double>(num_tokens),
                             num_tokens};
  inputs_.metrics->write(record);
  check_printed(print_eval(record, inputs_.stop_signal));
  return 0;
}

void Trainer::log(int64_t step_number, const TrainStep& step, double step_time_s) {
  const int64_t peak = peak_memory();
  if (world_.rank() != 0) return;
  StepRecord record{};
  record.step = step_number;
  record.loss = step.loss;
  record.grad_norm = step.grad_norm;
  record.lr = step.lr;
  record.consumed_samples = consumed_samples_;
  record.consumed_tokens = consumed_samples_ * recipe_.data.seq_length;
  record.step_time_s = step_time_s;
  record.tokens_per_s = static_cast<double>(tokens_per_step_) / step_time_s;
  if (recipe_.log.peak_tflops) {
    const double peak_flops = *recipe_.log.peak_tflops * 1e12 * world_.size();
    const FlopsPerToken flops = flops_per_token(recipe_.model, recipe_.data.seq_length);
    record.mfu_causal = flops.causal * record.tokens_per_s / peak_flops;
    record.mfu_full = flops.full * record.tokens_per_s / peak_flops;
  }
  record.peak_memory_bytes = peak;
  record.loss_scale = step.loss_scale;
  record.skipped = step.skipped;
  record.since_start_s = seconds_since(inputs_.process_start);
  if (model_.routers)
    record.moe = moe_figures(*model_.routers, recipe_.model.moe, microbatches_per_step());
  inputs_.metrics->write(record);
  check_printed(print_step(record, recipe_.trainer.max_steps, inputs_.stop_signal));
}

// Where whoever read the lines has gone, a signal has come too (SIGPIPE, SIGHUP) and the run stops.
void Trainer::check_printed(const std::error_code& error) const {
  if (error && inputs_.stop_signal.load() == 0)
    throw_data("standard output cannot be written: {}; is the disk full?", error.message());
}

int64_t Trainer::peak_memory() {
  int64_t peak = arena_.report().peak_total + host_arena_.report().peak_total;
  world_.all_reduce(Tensor(&peak, DType::kI64, {1}), ReduceOp::kMax, "peak_memory").wait(stream_);
  return peak;
}

}  // namespace nemo
