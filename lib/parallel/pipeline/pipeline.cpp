#include "lib/parallel/pipeline/pipeline.h"

#include <algorithm>
#include <numeric>

namespace nemo {
namespace {

std::unique_ptr<Communicator> copy_of(Communicator& group, const std::string& name) {
  std::vector<int64_t> all(static_cast<size_t>(group.size()));
  std::iota(all.begin(), all.end(), 0);
  return group.subgroup(all, name);
}

}  // namespace

Pipeline::Pipeline(std::vector<Layers> chunks, const Recipe& recipe, int64_t num_microbatches,
                   const DeviceMesh& mesh)
    : shape_(pipeline_shape(recipe.parallel, num_microbatches)),
      rank_(mesh[Axis::kPp].rank()),
      hidden_size_(recipe.model.hidden_size),
      rows_(training_rows(recipe.parallel.pp_schedule, shape_, rank_)),
      activations_{copy_of(mesh[Axis::kPp], "pp_forward"),
                   (rank_ + 1) % shape_.num_ranks,
                   (rank_ + shape_.num_ranks - 1) % shape_.num_ranks,
                   {},
                   0,
                   {}},
      gradients_{
          copy_of(mesh[Axis::kPp], "pp_backward"), activations_.from, activations_.to, {}, 0, {}} {
  const PipelineSchedule kind = recipe.parallel.pp_schedule;
  const Schedule schedule = make_schedule(kind, repetition(kind, shape_).shortened);
  for (size_t i = 0; i < chunks.size(); ++i) {
    num_slots_.push_back(
        most_in_flight(schedule.ranks[static_cast<size_t>(rank_)], static_cast<int>(i)));
    chunks_.emplace_back(std::move(chunks[i]), num_slots_.back(),
                         recipe.parallel.backward_prefetch);
  }
}

void Pipeline::train(Context& ctx, const MicroBatches& batches) {
  run(ctx, rows_, batches);
}

void Pipeline::evaluate(Context& ctx, int64_t num_microbatches, const MicroBatches& batches) {
  PipelineShape shape = shape_;
  shape.num_microbatches = narrow<int>(num_microbatches);
  shape.group_size = shape.num_ranks;
  run(ctx, evaluation_rows(shape, rank_), batches);
}

void Pipeline::run(Context& ctx, const Rows& rows, const MicroBatches& batches) {
  for (int64_t i = 0; i < rows.size(); ++i) {
    const Row row = rows[i];
    const MicroBatch& batch = batches(row.action.microbatch);
    if (i == 0) expect(ctx, row, batch);
    if (i + 1 < rows.size()) expect(ctx, rows[i + 1], batch);
    reap(ctx, activations_, row.num_forward_arrived);
    reap(ctx, gradients_, row.num_backward_arrived);
    const Tensor output =
        run_action(ctx, row.action, batch, receive(ctx, row), next_visit(rows, i));
    if (row.sends) send(row, output);
  }
  for (Channel* channel : {&activations_, &gradients_}) {
    reap(ctx, *channel, channel->num_arrived + static_cast<int64_t>(channel->sent.size()));
    channel->num_arrived = 0;
  }
}

Tensor Pipeline::run_action(Context& ctx, const Action& action, const MicroBatch& batch,
                            Tensor input, const Visit& after) {
  const TraceScope scope(ctx.trace, to_string(action.pass), nullptr, action.microbatch);
  Stage& stage = chunks_[static_cast<size_t>(action.chunk)];
  const int slot = action.microbatch % num_slots_[static_cast<size_t>(action.chunk)];
  const bool is_last = action.microbatch == shape_.num_microbatches - 1;
  switch (action.pass) {
    case Pass::kForward:
      return ctx.training ? stage.forward(ctx, batch, std::move(input), slot, after)
                          : stage.evaluate(ctx, batch, std::move(input), after);
    case Pass::kBackward:
      return stage.backward(ctx, batch, std::move(input), slot, is_last, after);
    case Pass::kBackwardInput:
      return stage.backward_input(ctx, batch, std::move(input), slot, after);
    case Pass::kBackwardWeight:
      stage.backward_weight(ctx, batch, slot, is_last);
  }
  return {};
}

Visit Pipeline::next_visit(const Rows& rows, int64_t row) const {
  for (int64_t i = row + 1; i < rows.size(); ++i) {
    const Action action = rows[i].action;
    if (action.pass == Pass::kBackwardWeight) continue;
    const Stage& stage = chunks_[static_cast<size_t>(action.chunk)];
    return stage.first_visit(action.pass != Pass::kForward);
  }
  return {};
}

// All micro batches have one shape.
void Pipeline::expect(Context& ctx, const Row& row, const MicroBatch& batch) {
  if (!row.receives) return;
  const int64_t spread = ctx.sequence_parallel ? ctx.mesh[Axis::kTp].size() : 1;
  const Tensor buffer =
      ctx.activation({div_exact(batch.num_tokens(), spread), hidden_size_}, "from_stage");
  Channel& from = channel(row.action);
  from.expected.emplace_back(buffer, from.group->receive(buffer, from.from, "stage"));
}

Tensor Pipeline::receive(Context& ctx, const Row& row) {
  if (!row.receives) return {};
  auto& expected = channel(row.action).expected;
  auto [buffer, work] = std::move(expected.front());
  expected.pop_front();
  work.wait(ctx.stream);
  return buffer;
}

void Pipeline::send(const Row& row, const Tensor& output) {
  Channel& to = channel(row.action);
  to.sent.push_back(to.group->send(output, to.to, "stage"));
}

void Pipeline::reap(Context& ctx, Channel& channel, int64_t num_arrived) {
  for (; channel.num_arrived < num_arrived; ++channel.num_arrived) {
    channel.sent.front().wait(ctx.stream);
    channel.sent.pop_front();
  }
}

}  // namespace nemo
