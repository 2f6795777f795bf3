// A schedule made ready to run on one rank: its actions with the messages around them.
#pragma once

#include <vector>

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
  int num_forward_arrived;
  int num_backward_arrived;
};

// Rank `rank`'s rows, in order.
std::vector<Row> lower(const Schedule& schedule, int rank);

}  // namespace nemo
