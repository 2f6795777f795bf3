#include "lib/parallel/pipeline/simulate.h"

#include <fmt/format.h>

#include <algorithm>

#include "lib/core/error.h"

namespace nemo {
namespace {

constexpr double kNever = -1;

// When forward and B of each stage's micro batches have ended.
class Ends {
 public:
  explicit Ends(const PipelineShape& shape)
      : shape_(shape),
        forward_(static_cast<size_t>(shape.num_stages() * shape.num_microbatches), kNever),
        backward_(forward_.size(), kNever) {}

  // When what the action needs from itself and its neighbours is there; kNever = not yet.
  double ready(const Action& action, int stage) const {
    const int m = action.microbatch;
    switch (action.pass) {
      case Pass::kForward:
        return stage == 0 ? 0 : forward_[at(stage - 1, m)];
      case Pass::kBackwardWeight:
        return backward_[at(stage, m)];
      default:
        break;
    }
    const double own = forward_[at(stage, m)];
    if (own == kNever || stage == shape_.num_stages() - 1) return own;
    const double next = backward_[at(stage + 1, m)];
    return next == kNever ? kNever : std::max(own, next);
  }

  void set(const Action& action, int stage, double end) {
    if (action.pass == Pass::kBackwardWeight) return;
    (action.pass == Pass::kForward ? forward_ : backward_)[at(stage, action.microbatch)] = end;
  }

 private:
  size_t at(int stage, int microbatch) const {
    return static_cast<size_t>(stage * shape_.num_microbatches + microbatch);
  }

  PipelineShape shape_;
  std::vector<double> forward_, backward_;
};

double time_of(Pass pass, const PassTimes& times) {
  switch (pass) {
    case Pass::kForward:
      return times.forward;
    case Pass::kBackward:
      return times.backward_input + times.backward_weight;
    case Pass::kBackwardInput:
      return times.backward_input;
    case Pass::kBackwardWeight:
      return times.backward_weight;
  }
  return 0;
}

int peak_live(const std::vector<Action>& actions) {
  int live = 0;
  int peak = 0;
  for (const Action& action : actions) {
    if (action.pass == Pass::kForward) peak = std::max(peak, ++live);
    if (action.pass == Pass::kBackward || action.pass == Pass::kBackwardWeight) --live;
  }
  return peak;
}

}  // namespace

Simulation simulate(const Schedule& schedule, const PassTimes& times) {
  const size_t num_ranks = schedule.ranks.size();
  Ends ends(schedule.shape);
  Simulation result;
  result.spans.resize(num_ranks);
  size_t num_left = 0;
  for (const auto& actions : schedule.ranks) num_left += actions.size();

  // As far as each rank gets, in turn, until nobody gets on.
  for (bool moves = true; moves;) {
    moves = false;
    for (size_t rank = 0; rank < num_ranks; ++rank) {
      auto& spans = result.spans[rank];
      while (spans.size() < schedule.ranks[rank].size()) {
        const Action& action = schedule.ranks[rank][spans.size()];
        const int stage = action.chunk * schedule.shape.num_ranks + static_cast<int>(rank);
        const double ready = ends.ready(action, stage);
        if (ready == kNever) break;
        const double begin = std::max(ready, spans.empty() ? 0 : spans.back().second);
        const double end = begin + time_of(action.pass, times);
        ends.set(action, stage, end);
        spans.emplace_back(begin, end);
        result.duration = std::max(result.duration, end);
        --num_left;
        moves = true;
      }
    }
  }
  NEMO_CHECK(num_left == 0, "the pipeline's schedule cannot end: {} actions wait for each other",
             num_left);

  double busy = 0;
  for (size_t rank = 0; rank < num_ranks; ++rank) {
    for (const auto& [begin, end] : result.spans[rank]) busy += end - begin;
    result.peak_live.push_back(peak_live(schedule.ranks[rank]));
  }
  result.bubble = 1 - busy / (result.duration * static_cast<double>(num_ranks));
  return result;
}

double bubble(const Simulation& shortened, const Repetition& repetition) {
  const double idle = shortened.bubble * shortened.duration;
  const double repeated = 3.0 * static_cast<double>(repetition.num_repeats) *
                          repetition.shortened.group_size * repetition.shortened.num_chunks;
  return idle / (shortened.duration + repeated);
}

}  // namespace nemo
