// What a schedule comes to when every action takes a known time: whether it ends, when, and what
// each rank holds meanwhile. Sends take no time and nobody waits for a receiver.
#pragma once

#include <utility>
#include <vector>

#include "lib/parallel/pipeline/schedule.h"

namespace nemo {

// Of one chunk, in any unit; a joint backward takes backward_input + backward_weight.
struct PassTimes {
  double forward = 1;
  double backward_input = 1;
  double backward_weight = 1;
};

struct Simulation {
  double duration = 0;
  std::vector<std::vector<std::pair<double, double>>> spans;  // begin, end; as Schedule::ranks
  // The share of all ranks' time, from the step's begin to its end, in which they run no action:
  // 1 - sum of the actions' times / (ranks * duration). The runtime's is measured the same way
  // (tests/lib/parallel/bubble_test.cpp).
  double bubble = 0;
  // By rank: the most (chunk, micro batch) pairs between forward and the end of backward.
  std::vector<int> peak_live;
};

// InvariantError where the schedule cannot end, because actions wait for each other.
Simulation simulate(const Schedule& schedule, const PassTimes& times);

// The bubble of a whole step from the simulation of its shortened one, where all passes take the
// same time: the periods that repeat have none.
double bubble(const Simulation& shortened, const Repetition& repetition);

}  // namespace nemo
