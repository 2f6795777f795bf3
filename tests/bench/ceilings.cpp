#include "tests/bench/ceilings.h"

namespace nemo::bench {
namespace {

// More sums than the latency of a multiply-add times its throughput, fewer than registers.
constexpr int kSums = 10;

template <typename Vector>
[[gnu::always_inline]] inline double multiply_add(int64_t rounds, float* result) {
  Vector sums[kSums];
  for (int i = 0; i < kSums; ++i) sums[i] = Vector{} + static_cast<float>(i);
  const Vector factor = Vector{} + *result, term = Vector{} + 1e-3f;
  for (int64_t round = 0; round < rounds; ++round)
#pragma GCC unroll 10
    for (int i = 0; i < kSums; ++i) sums[i] = sums[i] * factor + term;
  for (int i = 0; i < kSums; ++i) *result += sums[i][0];
  return 2.0 * kSums * static_cast<double>(rounds) * sizeof(Vector) / sizeof(float);
}

using Vector8 [[gnu::vector_size(32)]] = float;
using Vector16 [[gnu::vector_size(64)]] = float;

}  // namespace

[[gnu::target("avx2,fma")]] double multiply_add_v3(int64_t rounds, float* result) {
  return multiply_add<Vector8>(rounds, result);
}

[[gnu::target("avx512f")]] double multiply_add_v4(int64_t rounds, float* result) {
  return multiply_add<Vector16>(rounds, result);
}

void triad(int num_threads, std::vector<float>& a, const std::vector<float>& b,
           const std::vector<float>& c) {
#pragma omp parallel for simd num_threads(num_threads)
  for (size_t i = 0; i < a.size(); ++i) a[i] = b[i] + 3 * c[i];
}

}  // namespace nemo::bench
