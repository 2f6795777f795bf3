#include "kernels/elementwise.h"

#include "lib/core/error.h"
#include "tests/support/determinism.h"
#include "tests/support/gradients.h"
#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::test;

namespace {

// The last is large enough for three threads.
const Shape kShapes[] = {{0}, {1}, {3, 17}, {2, 5, 100}, {211, 733}};

}  // namespace

TEST_CASE("add is exact to rounding, and out may alias either term") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Shape& shape : kShapes) {
      const Tensor a = random_tensor(stream, shape, 1, 1, storage),
                   b = random_tensor(stream, shape, 2, 1, storage);
      const Tensor out = poisoned(stream, shape, storage);
      kernels::add(stream, a, b, out);
      CHECK(max_relative_error(out, sum_of(to_doubles(a), to_doubles(b))) <
            1e-7 + rounding(storage));
      const Tensor a2 = copy_of(stream, a), b2 = copy_of(stream, b);
      kernels::add(stream, a2, b, a2);
      kernels::add(stream, a, b2, b2);
      CHECK(same_bits(a2, out));
      CHECK(same_bits(b2, out));
    }
  });
}

TEST_CASE("add takes doubles") {
  on_every_stream([](Stream& stream) {
    const Tensor a = poisoned<double>(stream, {3}), b = poisoned<double>(stream, {3});
    for (int i = 0; i < 3; ++i) a.data<double>()[i] = i + 1e-12, b.data<double>()[i] = 1;
    kernels::add(stream, a, b, a);
    for (int i = 0; i < 3; ++i) CHECK(a.data<double>()[i] == i + 1e-12 + 1);
  });
}

TEST_CASE("fill reaches every element") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Shape& shape : kShapes) {
      const Tensor x = poisoned(stream, shape, storage), d = poisoned<double>(stream, shape);
      kernels::fill(stream, x, 0.3f);
      kernels::fill(stream, d, 0.25f);
      CHECK(elements(x) == rounded(std::vector<float>(x.numel(), 0.3f), storage));
      CHECK(elements<double>(d) == std::vector<double>(d.numel(), 0.25));
    }
  });
}

TEST_CASE("convert copies, rounds to 16 bits and widens from them") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Shape& shape : kShapes) {
      const Tensor x = random_tensor(stream, shape, 4, 1e3);
      const Tensor same = poisoned(stream, shape), wide = poisoned(stream, shape);
      const Tensor narrow = poisoned(stream, shape, storage);
      kernels::convert(stream, x, same);
      CHECK(same_bits(same, x));
      kernels::convert(stream, x, narrow);
      kernels::convert(stream, narrow, wide);
      CHECK(elements(wide) == rounded(elements(x), storage));
    }
  });
}

TEST_CASE("convert keeps infinities and NaN") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const Tensor x = tensor_of<float>(stream, {4}, {kInfinity, -kInfinity, 3.4e38f, NAN});
    const Tensor narrow = poisoned(stream, {4}, storage), wide = poisoned(stream, {4});
    kernels::convert(stream, x, narrow);
    kernels::convert(stream, narrow, wide);
    const std::vector<float> values = elements(wide);
    CHECK(values[0] == kInfinity);
    CHECK(values[1] == -kInfinity);
    CHECK(values[2] == (storage == DType::kF32 ? 3.4e38f : kInfinity));
    CHECK(std::isnan(values[3]));
  });
}

TEST_CASE("sum_squares adds to what is there, in double") {
  on_every_stream([](Stream& stream) {
    for (const Shape& shape : kShapes) {
      const Tensor x = random_tensor(stream, shape, 5), sum = poisoned<double>(stream, {1});
      sum.data<double>()[0] = 0.5;
      kernels::sum_squares(stream, x, sum);
      const double expected = 0.5 + dot(to_doubles(x), to_doubles(x));
      CHECK(std::abs(item<double>(sum) - expected) <= 1e-13 * expected);
    }
  });
}

TEST_CASE("sum_squares gives the same bits for any number of threads") {
  for (CpuIsa isa : available_isas()) {
    std::vector<double> sums;
    for (int num_threads : {1, 1, 2, 3, 5}) {
      Arena arena(Device{}, 1 << 24);
      Stream stream(arena, num_threads, isa);
      const Tensor x = random_tensor(stream, {999983}, 6), sum = poisoned<double>(stream, {1});
      kernels::fill(stream, sum, 0);
      kernels::sum_squares(stream, x, sum);
      sums.push_back(item<double>(sum));
    }
    CHECK(sums == std::vector<double>(sums.size(), sums[0]));
  }
}

TEST_CASE("elementwise ops give the same bits for any number of threads") {
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    const Tensor x = random_tensor(stream, {211, 733}, 7), y = random_tensor(stream, {211, 733}, 8);
    kernels::add(stream, x, y, x);
    return {x};
  }));
}

TEST_CASE("elementwise ops refuse other shapes, dtypes and strided views") {
  Arena arena(Device{}, 1 << 20);
  Stream stream(arena, 1, CpuIsa::kV3);
  const Tensor x = poisoned(stream, {4, 3}), y = poisoned(stream, {3, 4});
  const Tensor ids = poisoned<int32_t>(stream, {4, 3});
  CHECK_THROWS_AS(kernels::add(stream, x, x, y), InvariantError);
  CHECK_THROWS_AS(kernels::fill(stream, y.slice(1, 0, 2), 2), InvariantError);
  CHECK_THROWS_AS(kernels::fill(stream, ids, 0), InvariantError);
  CHECK_THROWS_AS(kernels::convert(stream, ids, x), InvariantError);
  CHECK_THROWS_AS(kernels::sum_squares(stream, x, y), InvariantError);
}
