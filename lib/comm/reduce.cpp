#include "lib/comm/reduce.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace nemo {
namespace {

struct Sum {
  template <typename T>
  static T apply(T a, T b) {
    return a + b;
  }
};

struct Max {
  template <typename T>
  static T apply(T a, T b) {
    return a > b || a != a ? a : b;  // a NaN on either side wins
  }
};

using Inputs = std::span<const std::byte* const>;
using Outputs = std::span<std::byte* const>;

template <typename T>
T widen(T x) {
  return x;
}
float widen(BFloat16 x) {
  return to_float(x);
}
float widen(Float16 x) {
  return to_float(x);
}

// sum = a op b
template <typename Op, typename Wide, typename T>
void start(Wide* __restrict sum, const T* __restrict a, const T* __restrict b, int64_t count) {
  for (int64_t i = 0; i < count; ++i) sum[i] = Op::apply(widen(a[i]), widen(b[i]));
}

// sum = sum op a
template <typename Op, typename Wide, typename T>
void extend(Wide* __restrict sum, const T* __restrict a, int64_t count) {
  for (int64_t i = 0; i < count; ++i) sum[i] = Op::apply(sum[i], widen(a[i]));
}

// sum = (sum op a) op b
template <typename Op, typename Wide, typename T>
void extend(Wide* __restrict sum, const T* __restrict a, const T* __restrict b, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    sum[i] = Op::apply(Op::apply(sum[i], widen(a[i])), widen(b[i]));
}

template <typename T>
const T* narrow(const T* sum, T*, int64_t) {
  return sum;
}
const BFloat16* narrow(const float* __restrict sum, BFloat16* __restrict rounded, int64_t count) {
  for (int64_t i = 0; i < count; ++i) rounded[i] = to_bfloat16(sum[i]);
  return rounded;
}

const Float16* narrow(const float* __restrict sum, Float16* __restrict rounded, int64_t count) {
  for (int64_t i = 0; i < count; ++i) rounded[i] = to_float16(sum[i]);
  return rounded;
}

// Two ranks in one pass through registers: nearly twice as fast as in blocks.
template <typename T, typename Op>
void reduce_pair(Inputs inputs, Outputs outputs, int64_t count) {
  const T* a = reinterpret_cast<const T*>(inputs[0]);
  const T* b = reinterpret_cast<const T*>(inputs[1]);
  T* first = reinterpret_cast<T*>(outputs.front());
  T* last = reinterpret_cast<T*>(outputs.back());
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) first[i] = last[i] = Op::apply(a[i], b[i]);
}

// Block by block, so that the sum stays in the first-level cache.
template <typename T, typename Op>
void reduce_blocks(Inputs inputs, Outputs outputs, int64_t count) {
  using Wide = decltype(widen(T{}));
  constexpr int64_t kBlock = 4096 / sizeof(Wide);
  alignas(64) Wide sum[kBlock];
  alignas(64) T rounded[kBlock];
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t length = std::min(kBlock, count - begin);
    auto in = [&](size_t rank) { return reinterpret_cast<const T*>(inputs[rank]) + begin; };
    start<Op>(sum, in(0), in(1), length);
    size_t rank = 2;
    for (; rank + 1 < inputs.size(); rank += 2) extend<Op>(sum, in(rank), in(rank + 1), length);
    if (rank < inputs.size()) extend<Op>(sum, in(rank), length);
    const T* result = narrow(sum, rounded, length);
    for (std::byte* output : outputs)
      std::memcpy(reinterpret_cast<T*>(output) + begin, result,
                  static_cast<size_t>(length) * sizeof(T));
  }
}

template <typename T, typename Op>
void reduce_typed(Inputs inputs, Outputs outputs, int64_t count) {
  if constexpr (std::is_same_v<T, decltype(widen(T{}))>) {
    if (inputs.size() == 2) return reduce_pair<T, Op>(inputs, outputs, count);
  }
  reduce_blocks<T, Op>(inputs, outputs, count);
}

#if defined(__x86_64__)
// The same compiled for AVX2: the same bits, as there is no multiplication to fuse.
template <typename T, typename Op>
[[gnu::target("avx2"), gnu::flatten]] void reduce_typed_avx2(Inputs inputs, Outputs outputs,
                                                             int64_t count) {
  reduce_typed<T, Op>(inputs, outputs, count);
}
#endif

template <typename T, typename Op>
void reduce_best(Inputs inputs, Outputs outputs, int64_t count) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return reduce_typed_avx2<T, Op>(inputs, outputs, count);
#endif
  reduce_typed<T, Op>(inputs, outputs, count);
}

template <typename T>
void reduce_with(ReduceOp op, Inputs inputs, Outputs outputs, int64_t count) {
  op == ReduceOp::kSum ? reduce_best<T, Sum>(inputs, outputs, count)
                       : reduce_best<T, Max>(inputs, outputs, count);
}

}  // namespace

void reduce(DType dtype, ReduceOp op, std::span<const std::byte* const> inputs,
            std::span<std::byte* const> outputs, int64_t count) {
  switch (dtype) {
    case DType::kF32:
      return reduce_with<float>(op, inputs, outputs, count);
    case DType::kBF16:
      return reduce_with<BFloat16>(op, inputs, outputs, count);
    case DType::kF16:
      return reduce_with<Float16>(op, inputs, outputs, count);
    case DType::kF64:
      return reduce_with<double>(op, inputs, outputs, count);
    case DType::kI32:
      return reduce_with<int32_t>(op, inputs, outputs, count);
    case DType::kI64:
      return reduce_with<int64_t>(op, inputs, outputs, count);
    default:
      NEMO_CHECK(false, "[reduce] cannot reduce {}", to_string(dtype));
  }
}

}  // namespace nemo
