// The order in which pipeline ranks work, as data. A schedule is made by pure functions, drawn,
// simulated (simulate.h) and executed by one runtime; all of them read the same actions.
//
//   gpipe        every forward, then every backward
//   1f1b         Narayanan et al. 2019 (PipeDream-Flush): one forward, one backward, after a
//   warm-up interleaved  Narayanan et al. 2021: 1f1b over several model chunks a rank zero_bubble
//   Qi et al. 2023, H1: 1f1b with B and W apart; W fills what would be waited for
//
// Micro batches pass each (rank, chunk) in rising order, forward, B and W, in every schedule.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/recipe/schema.h"

namespace nemo {

enum class Pass : uint8_t {
  kForward,
  kBackward,        // B and W in one go
  kBackwardInput,   // B: the gradient of the input
  kBackwardWeight,  // W: the gradients of the weights
};

// F, B or W, as schedules are drawn; B is either backward.
const char* to_string(Pass pass);

struct Action {
  Pass pass;
  int chunk;  // of this rank's model chunks; chunk c on rank r is stage c * num_ranks + r
  int microbatch;
  bool operator==(const Action&) const = default;
};

struct PipelineShape {
  int num_ranks = 1;
  int num_chunks = 1;
  int num_microbatches = 1;
  int group_size = 1;  // interleaved: consecutive micro batches of one chunk

  int num_stages() const { return num_ranks * num_chunks; }
};

// Of a training step with so many micro batches on each data-parallel rank.
PipelineShape pipeline_shape(const ParallelConfig& parallel, int64_t num_microbatches);

struct Schedule {
  PipelineShape shape;
  std::vector<std::vector<Action>> ranks;  // what each does, in order
};

// Of a recipe whose rules hold; num_chunks > 1 needs k1F1B.
Schedule make_schedule(PipelineSchedule kind, const PipelineShape& shape);

// Forward passes alone, as an evaluation runs them.
Schedule make_forward_schedule(const PipelineShape& shape);

// A long step repeats its middle, so that only a short one is ever written out: a step of
// `shortened`, in which the actions from forward of (chunk 0, micro batch first) up to that of
// (chunk 0, first + group_size), one period of the steady state, run num_repeats times more.
struct Repetition {
  PipelineShape shortened;
  int first = 0;
  int64_t num_repeats = 0;
};

// gpipe has no steady state: it is written out whole.
Repetition repetition(PipelineSchedule kind, const PipelineShape& shape);

// The most micro batches of the chunk that are between forward and the end of backward.
int most_in_flight(const std::vector<Action>& actions, int chunk);

// A line for each rank, a column for each unit of time, where each of F, B and W takes one unit and
// a joint backward two; a dot is idle. "F3" forward of micro batch 3; with chunks "F3b" on the
// second.
std::vector<std::string> draw(const Schedule& schedule);

}  // namespace nemo
