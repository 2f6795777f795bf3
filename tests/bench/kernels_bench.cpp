// Kernels against what this machine can do: products against the peak of multiply-adds, attention
// against the best product, the rest against the bandwidth of memory. On one thread and on all
// cores, or on as many as the arguments say.
#include <cstdlib>

#include "kernels/attention.h"
#include "kernels/grouped_matmul.h"
#include "kernels/matmul.h"
#include "lib/device/host.h"
#include "tests/bench/ceilings.h"
#include "tests/bench/memory_ops.h"
#include "tests/bench/table.h"
#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::bench;
using namespace nemo::test;

namespace {

struct Ceilings {
  double multiply_adds = 0;  // operations per second
  double product = 0;        // of the best matrix product so far
  double bandwidth = 0;      // bytes per second
};

constexpr const char* kFlops = "GFLOP/s";
constexpr const char* kBytes = "GB/s   ";

void bench_ceilings(const Stream& stream, Ceilings& ceilings) {
  const int num_threads = stream.num_threads();
  float result = 0.5f;
  double operations = 0;
  const Timing peak = time_calls([&] {
    double sum = 0;
#pragma omp parallel num_threads(num_threads) firstprivate(result) reduction(+ : sum)
    sum += stream.isa() == CpuIsa::kV4 ? multiply_add_v4(1 << 19, &result)
                                       : multiply_add_v3(1 << 19, &result);
    operations = sum;
  });
  ceilings.multiply_adds = operations / peak.best;
  print_row("multiply-adds", std::string(to_string(stream.isa())), peak, operations, kFlops, 0);

  std::vector<float> a(1 << 24), b(a.size(), 1), c(a.size(), 2);
  const Timing memory = time_calls([&] { triad(num_threads, a, b, c); });
  const double bytes = 12.0 * static_cast<double>(a.size());
  ceilings.bandwidth = bytes / memory.best;
  print_row("triad", "3 x 64 MiB", memory, bytes, kBytes, 0);
}

template <typename Call>
void bench_product(const char* name, int64_t m, int64_t n, int64_t k, Ceilings& ceilings,
                   Call&& call) {
  const Timing timing = time_calls(call);
  const double operations = 2.0 * static_cast<double>(m * n * k);
  ceilings.product = std::max(ceilings.product, operations / timing.best);
  print_row(name, fmt::format("{} x {} x {}", m, n, k), timing, operations, kFlops,
            ceilings.multiply_adds);
}

void bench_linear(Stream& stream, int64_t m, int64_t n, int64_t k, Ceilings& ceilings) {
  const Tensor x = random_tensor(stream, {m, k}, 1), w = random_tensor(stream, {n, k}, 2),
               dy = random_tensor(stream, {m, n}, 3);
  const Tensor y = poisoned(stream, {m, n}), dx = poisoned(stream, {m, k}),
               dw = random_tensor(stream, {n, k}, 4), dbias = poisoned(stream, {n});
  bench_product("matmul_forward", m, n, k, ceilings,
                [&] { kernels::matmul_forward(stream, x, w, Tensor(), y); });
  bench_product("matmul_backward_input", m, n, k, ceilings,
                [&] { kernels::matmul_backward_input(stream, dy, w, dx); });
  bench_product("matmul_backward_weight", m, n, k, ceilings,
                [&] { kernels::matmul_backward_weight(stream, dy, x, dw, true); });
}

// Where the runs of `num_experts` experts end in `num_rows` rows, by chance.
std::vector<int64_t> random_offsets(uint64_t seed, int64_t num_experts, int64_t num_rows) {
  std::vector<int64_t> offsets = {0, num_rows};
  for (int64_t e = 1; e < num_experts; ++e)
    offsets.push_back(static_cast<int64_t>(philox(seed, e)[0] % (num_rows + 1)));
  std::ranges::sort(offsets);
  return offsets;
}

// Eight experts, with other runs at every call.
void bench_grouped(Stream& stream, int64_t rows_per_expert, int64_t n, int64_t k,
                   const Ceilings& ceilings) {
  constexpr int64_t kExperts = 8;
  const int64_t m = kExperts * rows_per_expert;
  const Tensor x = random_tensor(stream, {m, k}, 1),
               w = random_tensor(stream, {kExperts * n, k}, 2),
               dy = random_tensor(stream, {m, n}, 3);
  const Tensor y = poisoned(stream, {m, n}), dx = poisoned(stream, {m, k}),
               dw = random_tensor(stream, {kExperts * n, k}, 4);
  std::vector<std::vector<int64_t>> offsets;
  for (uint64_t seed = 0; seed < 64; ++seed) offsets.push_back(random_offsets(seed, kExperts, m));
  size_t call = 0;
  const auto row = [&](const char* name, const auto& product) {
    const Timing timing = time_calls([&] { product(offsets[call++ % offsets.size()]); });
    print_row(name, fmt::format("8 of {} x {} x {}", rows_per_expert, n, k), timing,
              2.0 * static_cast<double>(m * n * k), kFlops, ceilings.multiply_adds);
  };
  row("grouped_forward",
      [&](const auto& runs) { kernels::grouped_matmul_forward(stream, x, w, runs, y); });
  row("grouped_backward_input",
      [&](const auto& runs) { kernels::grouped_matmul_backward_input(stream, dy, w, runs, dx); });
  row("grouped_backward_weight", [&](const auto& runs) {
    kernels::grouped_matmul_backward_weight(stream, dy, x, runs, dw, true);
  });
}

void bench_bias_backward(Stream& stream, int64_t m, int64_t n, const Ceilings& ceilings) {
  const Tensor dy = random_tensor(stream, {m, n}, 1), dbias = poisoned(stream, {n});
  print_row("bias_backward", fmt::format("{} x {}", m, n),
            time_calls([&] { kernels::bias_backward(stream, dy, dbias, false); }),
            static_cast<double>(dy.bytes()), kBytes, ceilings.bandwidth);
}

struct AttentionSizes {
  int64_t batch, seq, heads, groups, dim;
};

// Counts the operations of the visible half alone, and one recomputation in backward.
void bench_attention(Stream& stream, const AttentionSizes& s, const Ceilings& ceilings) {
  const auto [batch, seq, heads, groups, dim] = s;
  auto packed = [&](uint64_t seed) {
    return random_tensor(stream, {batch, seq, heads + 2 * groups, dim}, seed);
  };
  const Tensor qkv = packed(1), dqkv = packed(2);
  const Tensor doutput = random_tensor(stream, {batch, seq, heads, dim}, 3),
               o = poisoned(stream, {batch, seq, heads, dim}),
               lse = poisoned(stream, {batch, heads, seq});
  auto part = [&](const Tensor& x, int64_t index) {
    const int64_t ends[] = {0, heads, heads + groups, heads + 2 * groups};
    return x.slice(2, ends[index], ends[index + 1]);
  };
  const float scale = 1 / std::sqrt(static_cast<float>(dim));
  const auto mask = kernels::AttentionMask::kCausal;
  const double product = 2.0 * static_cast<double>(batch * heads * dim * seq * (seq + 1) / 2);
  const std::string shape = fmt::format("{}x{} {}/{}x{}", batch, seq, heads, groups, dim);
  const Timing forward = time_calls([&] {
    kernels::attention_forward(stream, part(qkv, 0), part(qkv, 1), part(qkv, 2), mask, scale, o,
                               lse);
  });
  print_row("attention_forward", shape, forward, 2 * product, kFlops, ceilings.product);
  const Timing backward = time_calls([&] {
    kernels::attention_backward(stream, {doutput, part(qkv, 0), part(qkv, 1), part(qkv, 2), o, lse,
                                         mask, scale, part(dqkv, 0), part(dqkv, 1), part(dqkv, 2)});
  });
  print_row("attention_backward", shape, backward, 5 * product, kFlops, ceilings.product);
}

void bench_all(int num_threads) {
  Arena arena(Device{}, int64_t{1} << 34);
  Stream stream(arena, num_threads, detect_cpu_isa());
  Ceilings ceilings;
  print_heading(num_threads);
  bench_ceilings(stream, ceilings);
  for (const auto& [n, k] :
       {std::pair{1024, 512}, {512, 512}, {2816, 512}, {512, 1408}, {4096, 512}})
    bench_linear(stream, 2048, n, k, ceilings);
  for (const auto& [n, k] : {std::pair{128, 128}, {512, 128}})
    bench_linear(stream, 256, n, k, ceilings);
  for (int64_t rows_per_expert : {16, 128, 600}) {
    bench_grouped(stream, rows_per_expert, 1408, 512, ceilings);
    bench_grouped(stream, rows_per_expert, 128, 64, ceilings);
  }
  for (const AttentionSizes& sizes : {AttentionSizes{4, 512, 8, 4, 64},
                                      {1, 2048, 8, 2, 128},
                                      {1, 2048, 8, 8, 64},
                                      {4, 512, 8, 8, 32},
                                      {2, 128, 4, 2, 32}})
    bench_attention(stream, sizes, ceilings);
  bench_bias_backward(stream, 2048, 2304, ceilings);
  bench_memory_ops(stream, ceilings.bandwidth);
}

}  // namespace

int main(int num_arguments, char** arguments) {
  std::vector<int> teams;
  for (int i = 1; i < num_arguments; ++i) teams.push_back(std::atoi(arguments[i]));
  if (teams.empty()) teams = {1, num_available_cores()};
  for (int num_threads : teams) bench_all(num_threads);
}
