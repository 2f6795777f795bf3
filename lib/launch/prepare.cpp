#include "lib/launch/prepare.h"

#include <vector>

#include "lib/launch/host_limits.h"
#include "lib/train/initial_weights.h"
#include "lib/train/predict_step.h"

namespace nemo {
namespace {

int64_t check_host(const ResolvedRecipe& run, int64_t num_ranks) {
  const Recipe& recipe = run.recipe;
  const Host host = this_host();
  check_compute_threads(recipe, host);
  const RankMemory least = least_memory(run);
  check_memory(least, recipe.trainer.devices, host);
  const int64_t peak = predict_peak_memory(run);
  check_memory({peak, least.state}, recipe.trainer.devices, host);
  check_threads_start(recipe, num_ranks);
  return peak;
}

}  // namespace

PreparedRun prepare_run(const ResolvedRecipe& run, int64_t num_ranks) {
  const Recipe& recipe = run.recipe;
  std::vector<Part> needed = {Part::kTrain};
  if (recipe.trainer.val_check_interval > 0) needed.push_back(Part::kValidation);
  auto dataset = open_dataset(recipe.data, recipe.model.vocab_size,
                              static_cast<uint64_t>(recipe.trainer.seed), needed);
  check_initial_weights(recipe);
  return {std::move(dataset), check_host(run, num_ranks)};
}

}  // namespace nemo
