#include "lib/parallel/pipeline/schedule.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/core/error.h"
#include "lib/core/math.h"
#include "lib/parallel/pipeline/simulate.h"

namespace nemo {
namespace {

using Actions = std::vector<Action>;

Actions gpipe(const PipelineShape& shape) {
  Actions actions;
  for (Pass pass : {Pass::kForward, Pass::kBackward})
    for (int m = 0; m < shape.num_microbatches; ++m) actions.push_back({pass, 0, m});
  return actions;
}

// The k-th (chunk, micro batch) of a rank: group after group, and in each one chunk after another.
std::vector<std::pair<int, int>> chunk_order(const PipelineShape& shape) {
  std::vector<std::pair<int, int>> order;
  for (int begin = 0; begin < shape.num_microbatches; begin += shape.group_size) {
    const int end = std::min(begin + shape.group_size, shape.num_microbatches);
    for (int chunk = 0; chunk < shape.num_chunks; ++chunk)
      for (int m = begin; m < end; ++m) order.emplace_back(chunk, m);
  }
  return order;
}

// 1f1b, interleaved where there are several chunks.
Actions one_forward_one_backward(const PipelineShape& shape, int rank) {
  const auto order = chunk_order(shape);
  const size_t total = order.size();
  const int to_last = shape.num_ranks - rank - 1;
  const int ahead =
      shape.num_chunks == 1 ? to_last : 2 * to_last + (shape.num_chunks - 1) * shape.group_size;
  const size_t warm_up = std::min(static_cast<size_t>(ahead), total);
  Actions actions;
  const auto forward = [&](size_t k) {
    actions.push_back({Pass::kForward, order[k].first, order[k].second});
  };
  const auto backward = [&](size_t k) {
    const int chunk = shape.num_chunks - 1 - order[k].first;
    actions.push_back({Pass::kBackward, chunk, order[k].second});
  };
  for (size_t k = 0; k < warm_up; ++k) forward(k);
  for (size_t k = warm_up; k < total; ++k) {
    forward(k);
    backward(k - warm_up);
  }
  for (size_t k = total - warm_up; k < total; ++k) backward(k);
  return actions;
}

// Rank r lets W wait for r micro batches: with its pp - r micro batches of 1f1b in flight every
// rank then holds pp, as rank 0 does anyway.
Actions zero_bubble(const PipelineShape& shape, int rank) {
  const int total = shape.num_microbatches;
  const int warm_up = std::min(shape.num_ranks - rank - 1, total);
  Actions actions;
  for (int m = 0; m < warm_up; ++m) actions.push_back({Pass::kForward, 0, m});
  int num_weights = 0;
  for (int m = 0; m < total; ++m) {
    if (m + warm_up < total) actions.push_back({Pass::kForward, 0, m + warm_up});
    actions.push_back({Pass::kBackwardInput, 0, m});
    if (m >= rank) actions.push_back({Pass::kBackwardWeight, 0, num_weights++});
  }
  while (num_weights < total) actions.push_back({Pass::kBackwardWeight, 0, num_weights++});
  return actions;
}

Actions actions_of(PipelineSchedule kind, const PipelineShape& shape, int rank) {
  switch (kind) {
    case PipelineSchedule::kGpipe:
      return gpipe(shape);
    case PipelineSchedule::k1F1B:
      return one_forward_one_backward(shape, rank);
    case PipelineSchedule::kZeroBubble:
      break;
  }
  return zero_bubble(shape, rank);
}

}  // namespace

const char* to_string(Pass pass) {
  return pass == Pass::kForward ? "F" : pass == Pass::kBackwardWeight ? "W" : "B";
}

PipelineShape pipeline_shape(const ParallelConfig& parallel, int64_t num_microbatches) {
  return {narrow<int>(parallel.pp_size), narrow<int>(parallel.vpp_size),
          narrow<int>(num_microbatches), narrow<int>(parallel.microbatch_group_size)};
}

Schedule make_schedule(PipelineSchedule kind, const PipelineShape& shape) {
  NEMO_CHECK(shape.num_chunks == 1 || kind == PipelineSchedule::k1F1B,
             "{} chunks are for 1f1b alone", shape.num_chunks);
  Schedule schedule{shape, {}};
  for (int rank = 0; rank < shape.num_ranks; ++rank)
    schedule.ranks.push_back(actions_of(kind, shape, rank));
  return schedule;
}

Schedule make_forward_schedule(const PipelineShape& shape) {
  Actions forward;
  for (const auto& [chunk, m] : chunk_order(shape)) forward.push_back({Pass::kForward, chunk, m});
  return {shape, std::vector<Actions>(static_cast<size_t>(shape.num_ranks), forward)};
}

Repetition repetition(PipelineSchedule kind, const PipelineShape& shape) {
  const int period = shape.group_size;
  // Micro batches by which every rank is in the steady state, wherever it was warmed up.
  const int settled = (4 * ceil_div(shape.num_ranks - 1, period) + 1) * period;
  const int shortened = 2 * settled + shape.num_microbatches % period;
  Repetition result{shape, settled, 0};
  if (kind == PipelineSchedule::kGpipe || shape.num_microbatches <= shortened) return result;
  result.shortened.num_microbatches = shortened;
  result.num_repeats = (shape.num_microbatches - shortened) / period;
  return result;
}

int most_in_flight(const std::vector<Action>& actions, int chunk) {
  int in_flight = 0;
  int most = 0;
  for (const Action& action : actions) {
    if (action.chunk != chunk) continue;
    if (action.pass == Pass::kForward) most = std::max(most, ++in_flight);
    if (action.pass == Pass::kBackward || action.pass == Pass::kBackwardWeight) --in_flight;
  }
  return most;
}

std::vector<std::string> draw(const Schedule& schedule) {
  const Simulation simulation = simulate(schedule, {});
  const PipelineShape& shape = schedule.shape;
  const size_t width =
      fmt::format("F{}", shape.num_microbatches - 1).size() + (shape.num_chunks > 1 ? 1 : 0);
  std::vector<std::string> lines;
  for (size_t rank = 0; rank < schedule.ranks.size(); ++rank) {
    std::vector<std::string> cells(static_cast<size_t>(simulation.duration), ".");
    for (size_t i = 0; i < schedule.ranks[rank].size(); ++i) {
      const Action& action = schedule.ranks[rank][i];
      const auto [begin, end] = simulation.spans[rank][i];
      for (double t = begin; t < end; ++t) {
        std::string& cell = cells[static_cast<size_t>(t)];
        cell = fmt::format("{}{}", to_string(action.pass), action.microbatch);
        if (shape.num_chunks > 1) cell += static_cast<char>('a' + action.chunk % 26);
      }
    }
    std::string line;
    for (const std::string& cell : cells) line += fmt::format("{:<{}} ", cell, width);
    line.erase(line.find_last_not_of(' ') + 1);
    lines.push_back(line);
  }
  return lines;
}

}  // namespace nemo
