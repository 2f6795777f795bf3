// Training runs inside a test: a recipe text, ranks as threads, and what they came to.
#pragma once

#include <atomic>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/functors/storage.h"
#include "lib/launch/thread_ranks.h"
#include "lib/model/init.h"
#include "lib/recipe/resolve.h"
#include "lib/train/trainer.h"
#include "tests/support/files.h"

namespace nemo::test {

inline ResolvedRecipe resolve_text(const std::string& text,
                                   const std::vector<std::string>& overrides) {
  return resolve({"test", "test.yaml", "", text}, overrides,
                 {.current_folder = std::filesystem::current_path().string(), .num_cores = 2});
}

// Runs fn(rank, world) on so many ranks, as run_thread_ranks does.
using RunRanks = std::function<void(int, std::chrono::nanoseconds,
                                    const std::function<void(int, Communicator&)>&)>;

// Runs body(trainer, rank) on every rank of the recipe's world.
inline void on_trainers(const ResolvedRecipe& run, const Dataset& dataset,
                        const std::function<void(Trainer&, int)>& body,
                        const RunRanks& run_ranks = run_thread_ranks) {
  const TempFolder folder;
  MetricsWriter metrics(folder.path(), /*tensorboard=*/false);
  const std::atomic<int> no_signal{0};
  const TrainInputs inputs = {run, dataset, &metrics, no_signal, Clock::now()};
  run_ranks(static_cast<int>(run.sizes.world), std::chrono::seconds(60),
            [&](int rank, Communicator& world) {
              Trainer trainer(inputs, world);
              body(trainer, rank);
              trainer.model().state->weights().settle();
            });
}

// Element i of a contiguous tensor of fp32, bf16 or fp16.
inline float value_at(const Tensor& tensor, int64_t i) {
  float value = 0;
  kernels::with_storage(tensor.dtype(),
                        [&]<typename T>(T) { value = kernels::load(tensor.data<T>() + i); });
  return value;
}

using LogicalTensors = std::map<std::string, std::vector<float>>;

// The logical tensors that ranks hold slices of, put together: every rank adds its share. An
// element that no rank holds, or that two ranks hold with different bits, is NaN.
class Assembly {
 public:
  // The weights that modules read. Collective.
  void add_weights(const Trainer& trainer) {
    const ParallelModel& model = trainer.model();
    WeightState& weights = model.state->weights();
    for (int unit = 0; unit < model.params->num_units(); ++unit) {
      weights.acquire(unit);
      for (ParamId id = 0; id < model.params->num_params(); ++id) {
        const Param& param = (*model.params)[id];
        if (param.unit != unit) continue;
        const Tensor local = weights.get(id);
        add(param, 0, local.view({local.numel()}));
      }
      weights.release(unit);
    }
  }

  // Of the last step: what this rank updates by.
  void add_grads(const Trainer& trainer) {
    const ParallelModel& model = trainer.model();
    for (const OptimRange& range : model.state->ranges())
      add((*model.params)[range.id], range.first, range.grad);
  }

  // Once every rank has added.
  LogicalTensors take() {
    for (auto& [name, held] : held_)
      for (size_t i = 0; i < held.size(); ++i)
        if (!held[i]) values_[name][i] = NAN;
    return std::move(values_);
  }

 private:
  // Elements of a Param from `first` on. From any thread.
  void add(const Param& param, int64_t first, const Tensor& elements) {
    const std::lock_guard lock(mutex_);
    for (const ParamPart& part : param.parts) {
      const int64_t part_cols = part.slice.cols.size();
      const int64_t part_first = part.first_row * part_cols;
      const int64_t begin = std::max(first, part_first);
      const int64_t end =
          std::min(first + elements.numel(), part_first + part.slice.rows.size() * part_cols);
      for (int64_t i = begin; i < end; ++i)
        add(part, i - part_first, value_at(elements, i - first));
    }
  }

  void add(const ParamPart& part, int64_t element, float value) {
    const auto& [tensor, slice, first_row] = part;
    const int64_t row_length = tensor.shape.num_dims() == 2 ? tensor.shape[1] : 1;
    const int64_t row = slice.rows.begin + element / slice.cols.size();
    const int64_t col = slice.cols.begin + element % slice.cols.size();
    auto& values = values_[tensor.name];
    auto& held = held_[tensor.name];
    values.resize(static_cast<size_t>(tensor.shape.numel()));
    held.resize(values.size());
    const size_t i = static_cast<size_t>(row * row_length + col);
    const bool differs = held[i] && std::memcmp(&values[i], &value, sizeof(float)) != 0;
    values[i] = differs ? NAN : value;
    held[i] = true;
  }

  std::mutex mutex_;
  LogicalTensors values_;
  std::map<std::string, std::vector<bool>> held_;
};

inline double norm(const std::vector<float>& x) {
  double sum = 0;
  for (float v : x) sum += static_cast<double>(v) * v;
  return std::sqrt(sum);
}

inline double norm(const LogicalTensors& tensors) {
  double sum = 0;
  for (const auto& [name, x] : tensors) sum += norm(x) * norm(x);
  return std::sqrt(sum);
}

// The largest over the tensors of ||a - b|| / max(||b||, 1e-3 ||all of b||); infinite for a NaN or
// a tensor only one side has.
inline double worst_difference(const LogicalTensors& a, const LogicalTensors& b) {
  const double whole = norm(b);
  double worst = a.size() == b.size() ? 0 : INFINITY;
  for (const auto& [name, expected] : b) {
    const auto found = a.find(name);
    if (found == a.end() || found->second.size() != expected.size()) return INFINITY;
    std::vector<float> difference(expected.size());
    for (size_t i = 0; i < expected.size(); ++i) difference[i] = found->second[i] - expected[i];
    const double relative = norm(difference) / std::max(norm(expected), 1e-3 * whole);
    if (!(relative <= worst)) worst = std::isnan(relative) ? INFINITY : relative;
  }
  return worst;
}

// A key bias shifts all scores of a query alike, which softmax does not see: its gradient is zero
// but for rounding, and Adam turns that noise into steps. Takes key biases out and returns the
// largest norm of one relative to the norm of all: what must stay noise.
inline double drop_key_biases(LogicalTensors& tensors) {
  const double whole = norm(tensors);
  double worst = 0;
  std::erase_if(tensors, [&](const auto& entry) {
    if (!entry.first.ends_with("attention.k.bias")) return false;
    worst = std::max(worst, norm(entry.second) / whole);
    return true;
  });
  return worst;
}

}  // namespace nemo::test
