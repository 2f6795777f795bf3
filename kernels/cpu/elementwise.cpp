#include "kernels/elementwise.h"

#include "kernels/cpu/team.h"
#include "kernels/functors/storage.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

// Elements of one cache line of any dtype: where pieces of a flat range may begin.
constexpr int64_t kGrain = 64;
// sum_squares adds within chunks of this many elements, then the chunks in order.
constexpr int64_t kChunk = 16384;

// with_storage for elements that may be fp64.
template <typename Body>
void with_real(DType dtype, const Body& body) {
  if (dtype == DType::kF64)
    body(double());
  else
    with_storage(dtype, body);
}

template <typename T>
void fill_elements(Stream& stream, const Tensor& x, float value) {
  T element;
  store(value, &element);
  parallel_pieces(stream, x.numel(), kGrain, x.bytes(),
                  [x = x.data<T>(), element](int64_t begin, int64_t end) {
#pragma omp simd
                    for (int64_t i = begin; i < end; ++i) x[i] = element;
                  });
}

template <typename From, typename To>
void convert_elements(Stream& stream, const Tensor& from, const Tensor& to) {
  parallel_pieces(stream, from.numel(), kGrain, from.bytes() + to.bytes(),
                  [from = from.data<From>(), to = to.data<To>()](int64_t begin, int64_t end) {
#pragma omp simd
                    for (int64_t i = begin; i < end; ++i) store(load(from + i), to + i);
                  });
}

void copy_bytes(Stream& stream, const Tensor& from, const Tensor& to) {
  parallel_pieces(stream, from.bytes(), kGrain, 2 * from.bytes(),
                  [from = static_cast<const char*>(from.raw()), to = static_cast<char*>(to.raw())](
                      int64_t begin, int64_t end) {
                    __builtin_memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
                  });
}

template <typename T>
void add_elements(Stream& stream, const Tensor& a, const Tensor& b, const Tensor& out) {
  parallel_pieces(
      stream, a.numel(), kGrain, 3 * a.bytes(),
      [a = a.data<T>(), b = b.data<T>(), out = out.data<T>()](int64_t begin, int64_t end) {
#pragma omp simd
        for (int64_t i = begin; i < end; ++i) store(load(a + i) + load(b + i), out + i);
      });
}

double chunk_squares(const float* x, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) {
    const double value = static_cast<double>(x[i]);
    sum += value * value;
  }
  return sum;
}

}  // namespace

void add(Stream& stream, const Tensor& a, const Tensor& b, const Tensor& out) {
  with_real(a.dtype(), [&]<typename T>(T) { add_elements<T>(stream, a, b, out); });
}

void fill(Stream& stream, const Tensor& x, float value) {
  with_real(x.dtype(), [&]<typename T>(T) { fill_elements<T>(stream, x, value); });
}

void convert(Stream& stream, const Tensor& from, const Tensor& to) {
  if (from.dtype() == to.dtype()) return copy_bytes(stream, from, to);
  with_storage(from.dtype(), [&]<typename From>(From) {
    with_storage(to.dtype(),
                 [&]<typename To>(To) { convert_elements<From, To>(stream, from, to); });
  });
}

void sum_squares(Stream& stream, const Tensor& x, const Tensor& sum) {
  const int64_t n = x.numel(), num_chunks = (n + kChunk - 1) / kChunk;
  const Tensor partial = stream.workspace(DType::kF64, {num_chunks}, "sum_squares");
  double* sums = partial.data<double>();
  parallel_pieces(
      stream, num_chunks, 1, x.bytes(), [=, x = x.data<float>()](int64_t begin, int64_t end) {
        for (int64_t chunk = begin; chunk < end; ++chunk) {
          const int64_t first = chunk * kChunk;
          sums[chunk] = chunk_squares(x + first, n - first < kChunk ? n - first : kChunk);
        }
      });
  if (stream.recording()) return;
  double total = 0;
  for (int64_t chunk = 0; chunk < num_chunks; ++chunk) total += sums[chunk];
  sum.data<double>()[0] += total;
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
