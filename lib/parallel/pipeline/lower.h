// A schedule made ready to run on one rank: its actions with the messages around them.
#pragma once

#include <vector>

#include "lib/core/math.h"
#include "lib/parallel/pipeline/schedule.h"

namespace nemo {

struct Row {
  Action action;
  // Its input comes from another rank: forward from the one before, B from the one after.
  bool receives;
  // Its output goes on: forward to the one after, B to the one before.
  bool sends;
  // So many of the activations and of the gradients that this rank has sent are certainly with
  // their receivers when the action begins: waiting for them cannot deadlock, because every rank
  // waits only for what the simulation has seen happen earlier.
  int64_t num_forward_arrived;
  int64_t num_backward_arrived;
  bool operator==(const Row&) const = default;
};

// A rank's rows, in order.
class Rows {
 public:
  // `shortened`: those of repetition.shortened.
  Rows(std::vector<Row> shortened, const Repetition& repetition);

  int64_t size() const;
  Row operator[](int64_t index) const;
  // Of the shortened rows, those that repeat; empty where none do.
  Range period() const { return {begin_, begin_ + length_}; }

 private:
  std::vector<Row> rows_;
  Repetition repetition_;
  int64_t begin_ = 0;          // of the period among rows_
  int64_t length_ = 0;         // its rows
  int64_t forward_sends_ = 0;  // in it
  int64_t backward_sends_ = 0;
};

// Those of a schedule written out.
std::vector<Row> lower(const Schedule& schedule, int rank);

Rows training_rows(PipelineSchedule kind, const PipelineShape& shape, int rank);
Rows evaluation_rows(const PipelineShape& shape, int rank);

}  // namespace nemo
