// Whether this host can run its ranks of a recipe. Asked before a run leaves anything behind, and
// never of a dry run, which may be about another host.
#pragma once

#include <cstdint>

#include "lib/recipe/resolve.h"

namespace nemo {

// What of it this process may use.
struct Host {
  int64_t num_cores;
  int64_t memory_bytes;
};

Host this_host();

// A usage error for compute threads of one rank that are more than the cores.
void check_compute_threads(const Recipe& recipe, const Host& host);

// What a rank needs, in bytes.
struct RankMemory {
  int64_t total;
  int64_t state;  // of it parameters, gradients and optimizer, which no smaller batch changes
};

// A usage error where the host's ranks need more than its memory.
void check_memory(const RankMemory& rank, int64_t num_ranks, const Host& host);

// What a rank needs at least, by arithmetic alone: state and one activation. So a
// hopeless recipe is refused at once, and none reaches the exact prediction whose sizes overflow.
RankMemory least_memory(const ResolvedRecipe& run);

// A usage error where this process may not have the stack, or the open files, that a rank needs,
// or a launcher of `num_children` ranks.
void check_process_limits(int64_t num_children);

// Reserves as much address space at once as `num_ranks` ranks that are threads will, each for so
// many arenas, and gives it back. A usage error where that cannot be had.
void check_address_space(int num_ranks, int num_arenas);

// Starts as many threads at once as `num_ranks` ranks of this process will, and ends them: no count
// of a limit tells what is left of it. A usage error where one does not start.
void check_threads_start(const Recipe& recipe, int64_t num_ranks);

}  // namespace nemo
