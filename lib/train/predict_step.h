// What a rank will need and send, found by running the real step on a device that only counts.
#pragma once

#include <vector>

#include "lib/comm/traffic.h"
#include "lib/device/memory.h"
#include "lib/recipe/resolve.h"

namespace nemo {

struct StepPrediction {
  MemoryReport memory;
  MemoryReport host;  // of parallel.cpu_offload
  Traffic traffic;

  // On CPU both lie in the same memory.
  int64_t peak_total() const { return memory.peak_total + host.peak_total; }
};

// Of one rank of a recipe that runs; with experts, as if all were chosen alike.
StepPrediction predict_step(const ResolvedRecipe& run, int rank);

// Of a pipeline stage's ranks, as far as they differ, the one that needs most and the one that
// sends most.
struct StagePrediction {
  struct {
    int rank = 0;
    MemoryReport memory;
    MemoryReport host;
    int64_t peak_total() const { return memory.peak_total + host.peak_total; }
  } fullest;
  struct {
    int rank = 0;
    Traffic traffic;
  } busiest;
};
std::vector<StagePrediction> predict_stages(const ResolvedRecipe& run);
// Layers times micro batches times steps of the ring that this takes, some 20 us each.
int64_t num_predicted_passes(const ResolvedRecipe& run);

// The largest peak_total of the run's ranks.
int64_t predict_peak_memory(const ResolvedRecipe& run);

}  // namespace nemo
