// What kernel tests are made of: streams of every kind this machine can run, random and poisoned
// tensors, and comparison with a reference held as std::vector<double> in row-major order.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "lib/core/philox.h"
#include "lib/device/stream.h"

namespace nemo::test {

// The instruction sets that this machine has and the kernels are built for.
inline std::vector<CpuIsa> available_isas() {
#ifdef NEMO_ONLY_CPU_ISA
  return {detect_cpu_isa()};
#else
  if (detect_cpu_isa() == CpuIsa::kV4) return {CpuIsa::kV3, CpuIsa::kV4};
  return {CpuIsa::kV3};
#endif
}

// Calls body(stream) for every instruction set of this machine with 1, 2 and 3 threads.
template <typename Body>
void on_every_stream(Body&& body) {
  for (CpuIsa isa : available_isas())
    for (int num_threads : {1, 2, 3}) {
      CAPTURE(to_string(isa));
      CAPTURE(num_threads);
      Arena arena(Device{}, int64_t{1} << 32);
      Stream stream(arena, num_threads, isa);
      body(stream);
    }
}

// What an op's tensors may be stored as.
inline constexpr DType kStorages[] = {DType::kF32, DType::kBF16, DType::kF16};

// The same for each of them: body(stream, storage).
template <typename Body>
void on_every_stream_and_storage(Body&& body) {
  for (const DType storage : kStorages) {
    CAPTURE(to_string(storage));
    on_every_stream([&](Stream& stream) { body(stream, storage); });
  }
}

// What rounding a number once to its storage adds to the relative error of fp32 arithmetic.
inline double rounding(DType storage) {
  return storage == DType::kBF16 ? 0x1p-8 : storage == DType::kF16 ? 0x1p-11 : 0;
}

inline std::vector<float> rounded(std::vector<float> values, DType storage) {
  for (float& value : values)
    value = storage == DType::kBF16  ? to_float(to_bfloat16(value))
            : storage == DType::kF16 ? to_float(to_float16(value))
                                     : value;
  return values;
}

// Calls visit(element) for every element of a strided tensor, in row-major order; as floats also
// those of bf16 and fp16, where what visit leaves is rounded.
template <typename T, typename Visit>
void for_each_element(const Tensor& tensor, Visit&& visit) {
  if constexpr (std::is_same_v<T, float>) {
    const auto as_float = [&](auto& element, auto round) {
      float value = to_float(element);
      visit(value);
      element = round(value);
    };
    if (tensor.dtype() == DType::kBF16)
      return for_each_element<BFloat16>(tensor, [&](BFloat16& x) { as_float(x, to_bfloat16); });
    if (tensor.dtype() == DType::kF16)
      return for_each_element<Float16>(tensor, [&](Float16& x) { as_float(x, to_float16); });
  }
  if (tensor.numel() == 0) return;
  T* const base = tensor.data<T>();
  const int last = tensor.num_dims() - 1;
  if (last < 0) return static_cast<void>(visit(*base));
  const int64_t row_length = tensor.size(last), stride = tensor.stride(last);
  Shape index = tensor.shape();
  for (int dim = 0; dim <= last; ++dim) index[dim] = 0;
  for (int64_t row = 0; row < tensor.numel() / row_length; ++row) {
    int64_t offset = 0;
    for (int dim = 0; dim < last; ++dim) offset += index[dim] * tensor.stride(dim);
    for (int64_t i = 0; i < row_length; ++i) visit(base[offset + i * stride]);
    for (int dim = last - 1; dim >= 0 && ++index[dim] == tensor.size(dim); --dim) index[dim] = 0;
  }
}

// Every element becomes NaN (the lowest number where T is an integer).
template <typename T = float>
void poison(const Tensor& tensor) {
  using Limits = std::numeric_limits<T>;
  for_each_element<T>(tensor, [](T& element) {
    element = Limits::has_quiet_NaN ? Limits::quiet_NaN() : Limits::lowest();
  });
}

// A new tensor full of poison: what outputs are before the kernel runs.
template <typename T = float>
Tensor poisoned(Stream& stream, const Shape& shape) {
  Tensor tensor(stream.arena(), DTypeOf<T>::kValue, shape, MemoryCategory::kActivations, "test");
  poison<T>(tensor);
  return tensor;
}

inline Tensor poisoned(Stream& stream, const Shape& shape, DType storage) {
  Tensor tensor(stream.arena(), storage, shape, MemoryCategory::kActivations, "test");
  poison(tensor);
  return tensor;
}

// Uniform in [-scale, scale), by (seed, element index) alone; works on strided tensors.
inline void fill_random(const Tensor& tensor, uint64_t seed, double scale = 1.0) {
  uint64_t index = 0;
  for_each_element<float>(tensor, [&](float& element) {
    const double unit = philox(seed, index++)[0] * 0x1p-31 - 1.0;
    element = static_cast<float>(scale * unit);
  });
}

inline Tensor random_tensor(Stream& stream, const Shape& shape, uint64_t seed, double scale = 1.0,
                            DType storage = DType::kF32) {
  Tensor tensor = poisoned(stream, shape, storage);
  fill_random(tensor, seed, scale);
  return tensor;
}

template <typename T>
Tensor tensor_of(Stream& stream, const Shape& shape, const std::vector<T>& values) {
  Tensor tensor = poisoned<T>(stream, shape);
  REQUIRE(tensor.numel() == static_cast<int64_t>(values.size()));
  size_t i = 0;
  for_each_element<T>(tensor, [&](T& element) { element = values[i++]; });
  return tensor;
}

// The elements in row-major order: as they are (floats for bf16 and fp16), or as the doubles that
// references compute with.
template <typename T = float>
std::vector<T> elements(const Tensor& tensor) {
  std::vector<T> result;
  result.reserve(static_cast<size_t>(tensor.numel()));
  for_each_element<T>(tensor, [&](T& element) { result.push_back(element); });
  return result;
}

// A contiguous copy.
inline Tensor copy_of(Stream& stream, const Tensor& source) {
  const Tensor copy = poisoned(stream, source.shape(), source.dtype());
  const std::vector<float> values = elements(source);
  size_t i = 0;
  for_each_element<float>(copy, [&](float& element) { element = values[i++]; });
  return copy;
}

inline std::vector<double> to_doubles(const Tensor& tensor) {
  const std::vector<float> values = elements(tensor);
  return {values.begin(), values.end()};
}

// max |got - expected| / max |expected|; infinite if anything is not finite or the sizes differ.
template <typename T = float>
double max_relative_error(const Tensor& got, const std::vector<double>& expected) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  const std::vector<T> values = elements<T>(got);
  if (values.size() != expected.size()) return kInfinity;
  double error = 0, magnitude = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double difference = std::abs(static_cast<double>(values[i]) - expected[i]);
    if (!std::isfinite(difference)) return kInfinity;
    error = std::max(error, difference);
    magnitude = std::max(magnitude, std::abs(expected[i]));
  }
  return magnitude > 0 ? error / magnitude : error > 0 ? kInfinity : 0;
}

// Bit for bit; NaN equals NaN of the same bits.
template <typename T = float>
bool same_bits(const Tensor& a, const Tensor& b) {
  const std::vector<T> x = elements<T>(a), y = elements<T>(b);
  return x.size() == y.size() &&
         (x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(T)) == 0);
}

// Whether nothing has been written to a poisoned tensor, e.g. the gap beside a strided output.
inline bool is_still_poisoned(const Tensor& tensor) {
  bool poisoned_everywhere = true;
  for_each_element<float>(tensor,
                          [&](float& element) { poisoned_everywhere &= std::isnan(element); });
  return poisoned_everywhere;
}

}  // namespace nemo::test
