// Whole training steps against what this machine can do. One rank on all cores:
//   share = (6 N + 12 L s h) * tokens / step time / best rate among the model's own products
// and two floors no step can beat: its FLOPs at that rate, and its bytes at the memory's bandwidth.
// Then the memory that was foretold, what the arena held, and by how much the process grew.
// Usage: bench_step [RECIPE.yaml [key=value…]], by default tests/bench/yardstick.yaml.
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "kernels/matmul.h"
#include "lib/data/dataset.h"
#include "lib/device/host.h"
#include "lib/model/flops.h"
#include "lib/model/param_count.h"
#include "lib/train/predict_step.h"
#include "tests/bench/ceilings.h"
#include "tests/bench/table.h"
#include "tests/support/tensors.h"
#include "tests/support/training.h"

using namespace nemo;
using namespace nemo::bench;
using namespace nemo::test;

namespace {

constexpr int kSteps = 7;

double rate_of(double operations, const auto& call) {
  return operations / time_calls(call).best;
}

// FLOP/s of the best of the three products of each of the model's linear layers.
double best_product_rate(const Recipe& recipe) {
  Arena arena(Device{}, int64_t{1} << 33);
  Stream stream(arena, static_cast<int>(recipe.trainer.threads_per_rank), detect_cpu_isa());
  const ModelConfig& model = recipe.model;
  const int64_t m = recipe.data.micro_batch_size * recipe.data.seq_length;
  const int64_t heads = model.num_attention_heads * model.head_dim;
  const int64_t qkv = heads + 2 * model.num_query_groups * model.head_dim;
  const int64_t up = model.ffn_hidden_size * (model.activation == Activation::kSwiglu ? 2 : 1);
  const int64_t shapes[][2] = {{qkv, model.hidden_size},
                               {model.hidden_size, heads},
                               {up, model.hidden_size},
                               {model.hidden_size, model.ffn_hidden_size},
                               {model.vocab_size, model.hidden_size}};
  double best = 0;
  for (const auto& [n, k] : shapes) {
    const Tensor x = random_tensor(stream, {m, k}, 1), w = random_tensor(stream, {n, k}, 2);
    const Tensor y = random_tensor(stream, {m, n}, 3), dw = random_tensor(stream, {n, k}, 4);
    const double operations = 2.0 * static_cast<double>(m * n * k);
    best = std::max(
        {best, rate_of(operations, [&] { kernels::matmul_forward(stream, x, w, {}, y); }),
         rate_of(operations, [&] { kernels::matmul_backward_input(stream, y, w, x); }),
         rate_of(operations, [&] { kernels::matmul_backward_weight(stream, y, x, dw, true); })});
  }
  return best;
}

double bandwidth(int num_threads) {
  std::vector<float> a(1 << 24), b(a.size(), 1), c(a.size(), 2);
  return rate_of(12.0 * static_cast<double>(a.size()), [&] { triad(num_threads, a, b, c); });
}

// Bytes a step must move at least: AdamW reads and writes weights and moments and reads gradients,
// every micro batch reads the weights twice and writes the gradients once, and what forward keeps
// is written once and read once.
double least_bytes(const Recipe& recipe, int64_t activations) {
  const double weights = 4.0 * static_cast<double>(num_parameters(recipe.model));
  const double microbatches = static_cast<double>(recipe.data.global_batch_size) /
                              static_cast<double>(recipe.data.micro_batch_size);
  return 7 * weights + microbatches * (3 * weights + 2 * static_cast<double>(activations));
}

// The most that was resident so far, in bytes.
int64_t peak_resident() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * int64_t{1024};
}

struct Measured {
  std::vector<double> seconds;  // of each step after the first, sorted
  MemoryReport memory;
  int64_t grown;  // bytes resident at the peak more than before
};

Measured measure_steps(const ResolvedRecipe& run) {
  const auto dataset =
      open_dataset(run.recipe.data, run.recipe.model.vocab_size, 1, std::vector{Part::kTrain});
  Measured measured{};
  const int64_t before = peak_resident();
  on_trainers(run, *dataset, [&](Trainer& trainer, int) {
    trainer.train_step();
    for (int i = 0; i < kSteps; ++i) {
      const Clock::time_point start = Clock::now();
      trainer.train_step();
      measured.seconds.push_back(seconds_since(start));
    }
    measured.memory = trainer.memory();
  });
  measured.grown = peak_resident() - before;
  std::sort(measured.seconds.begin(), measured.seconds.end());
  return measured;
}

void print_memory(const Measured& measured, int64_t activations, int64_t predicted) {
  const auto row = [&](const char* name, int64_t bytes, const std::string& note) {
    fmt::print("{:<17} {:8.1f} MB ({})\n", name, static_cast<double>(bytes) * 1e-6, note);
  };
  const auto off = [&](int64_t bytes) {
    return fmt::format("{:+.1f} % of the prediction", 100 * static_cast<double>(bytes - predicted) /
                                                          static_cast<double>(predicted));
  };
  row("memory predicted", predicted,
      fmt::format("activations {:.1f} MB", static_cast<double>(activations) * 1e-6));
  row("arena peak", measured.memory.peak_total, off(measured.memory.peak_total));
  row("process grew by", measured.grown, off(measured.grown));
}

void bench_step(const ResolvedRecipe& run) {
  const Recipe& recipe = run.recipe;
  const int num_threads = static_cast<int>(recipe.trainer.threads_per_rank);
  const MemoryReport predicted = predict_step(run, 0).memory;
  const Measured measured = measure_steps(run);  // first, while nothing else has been resident
  const std::vector<double>& seconds = measured.seconds;
  const double rate = best_product_rate(recipe);
  const double bytes_per_s = bandwidth(num_threads);
  const double median = seconds[kSteps / 2];
  const double tokens = static_cast<double>(recipe.data.global_batch_size * recipe.data.seq_length);
  const double flops = flops_per_token(recipe.model, recipe.data.seq_length).full * tokens;
  const int64_t activations = predicted.peak[static_cast<size_t>(MemoryCategory::kActivations)];
  fmt::print("{}: {} parameters, {} tokens a step, {} threads, {}\n", run.name,
             num_parameters(recipe.model), tokens, num_threads, to_string(detect_cpu_isa()));
  fmt::print("best product      {:8.1f} GFLOP/s\n", rate * 1e-9);
  fmt::print("memory            {:8.1f} GB/s\n", bytes_per_s * 1e-9);
  fmt::print("step              {:8.1f} ms median ({:.1f} … {:.1f})  {:.0f} tokens/s\n",
             median * 1e3, seconds.front() * 1e3, seconds.back() * 1e3, tokens / median);
  fmt::print("share of product  {:8.1f} %\n", 100 * flops / median / rate);
  fmt::print("floor, FLOPs      {:8.1f} ms ({:.1f} GFLOP)\n", flops / rate * 1e3, flops * 1e-9);
  fmt::print("floor, bytes      {:8.1f} ms\n",
             least_bytes(recipe, activations) / bytes_per_s * 1e3);
  print_memory(measured, activations, predicted.peak_total);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string path = argc > 1 ? argv[1] : "tests/bench/yardstick.yaml";
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  const std::vector<std::string> overrides(argv + std::min(argc, 2), argv + argc);
  try {
    bench_step(resolve({path, path, "", text.str()}, overrides,
                       {.current_folder = std::filesystem::current_path().string(),
                        .num_cores = num_available_cores()}));
  } catch (const UserError& e) {
    fmt::print(stderr, "error: {}\n", e.what());
    return static_cast<int>(e.code());
  }
}
