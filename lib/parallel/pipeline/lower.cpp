#include "lib/parallel/pipeline/lower.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "lib/parallel/pipeline/simulate.h"

namespace nemo {
namespace {

bool is_forward(const Action& action) {
  return action.pass == Pass::kForward;
}

// When each forward and each B of every stage begins.
class Begins {
 public:
  explicit Begins(const Schedule& schedule) {
    const Simulation simulation = simulate(schedule, {});
    for (size_t rank = 0; rank < schedule.ranks.size(); ++rank)
      for (size_t i = 0; i < schedule.ranks[rank].size(); ++i) {
        const Action& action = schedule.ranks[rank][i];
        if (action.pass == Pass::kBackwardWeight) continue;
        const int stage = action.chunk * schedule.shape.num_ranks + static_cast<int>(rank);
        begins_[{is_forward(action), stage, action.microbatch}] = simulation.spans[rank][i].first;
      }
    spans_ = simulation.spans;
  }

  double of(bool forward, int stage, int microbatch) const {
    return begins_.at({forward, stage, microbatch});
  }
  double of_action(int rank, size_t index) const {
    return spans_[static_cast<size_t>(rank)][index].first;
  }

 private:
  std::map<std::tuple<bool, int, int>, double> begins_;
  std::vector<std::vector<std::pair<double, double>>> spans_;
};

int64_t index_of_forward(const std::vector<Row>& rows, int microbatch) {
  const Action action = {Pass::kForward, 0, microbatch};
  return std::ranges::find(rows, action, &Row::action) - rows.begin();
}

}  // namespace

Rows::Rows(std::vector<Row> shortened, const Repetition& repetition)
    : rows_(std::move(shortened)), repetition_(repetition) {
  if (repetition_.num_repeats == 0) return;
  begin_ = index_of_forward(rows_, repetition_.first);
  length_ = index_of_forward(rows_, repetition_.first + repetition_.shortened.group_size) - begin_;
  for (int64_t i = begin_; i < begin_ + length_; ++i) {
    const Row& row = rows_[static_cast<size_t>(i)];
    if (row.sends) ++(is_forward(row.action) ? forward_sends_ : backward_sends_);
  }
}

int64_t Rows::size() const {
  return static_cast<int64_t>(rows_.size()) + repetition_.num_repeats * length_;
}

Row Rows::operator[](int64_t index) const {
  // Periods of the repeated ones that lie before.
  int64_t num_passed = 0;
  if (length_ > 0 && index >= begin_ + length_)
    num_passed = std::min((index - begin_) / length_, repetition_.num_repeats);
  Row row = rows_[static_cast<size_t>(index - num_passed * length_)];
  row.action.microbatch += static_cast<int>(num_passed * repetition_.shortened.group_size);
  row.num_forward_arrived += num_passed * forward_sends_;
  row.num_backward_arrived += num_passed * backward_sends_;
  return row;
}

Rows training_rows(PipelineSchedule kind, const PipelineShape& shape, int rank) {
  const Repetition repeats = repetition(kind, shape);
  return Rows(lower(make_schedule(kind, repeats.shortened), rank), repeats);
}

Rows evaluation_rows(const PipelineShape& shape, int rank) {
  const Repetition repeats = repetition(PipelineSchedule::k1F1B, shape);
  return Rows(lower(make_forward_schedule(repeats.shortened), rank), repeats);
}

std::vector<Row> lower(const Schedule& schedule, int rank) {
  const Begins begins(schedule);
  const int last_stage = schedule.shape.num_stages() - 1;
  const auto& actions = schedule.ranks[static_cast<size_t>(rank)];
  std::vector<Row> rows;
  std::vector<double> received[2];  // of what was sent so far, [forward]
  size_t arrived[2] = {0, 0};
  for (size_t i = 0; i < actions.size(); ++i) {
    const Action& action = actions[i];
    const bool forward = is_forward(action);
    const int stage = action.chunk * schedule.shape.num_ranks + rank;
    const int from = forward ? stage - 1 : stage + 1;
    const int to = forward ? stage + 1 : stage - 1;
    const auto is_other_rank = [&](int other) {
      return action.pass != Pass::kBackwardWeight && other >= 0 && other <= last_stage;
    };
    for (bool kind : {false, true})
      while (arrived[kind] < received[kind].size() &&
             received[kind][arrived[kind]] < begins.of_action(rank, i))
        ++arrived[kind];
    rows.push_back({action, is_other_rank(from), is_other_rank(to),
                    static_cast<int64_t>(arrived[true]), static_cast<int64_t>(arrived[false])});
    if (rows.back().sends) received[forward].push_back(begins.of(forward, to, action.microbatch));
  }
  return rows;
}

}  // namespace nemo
