#include "kernels/rope.h"

#include "lib/core/error.h"
#include "tests/support/determinism.h"
#include "tests/support/gradients.h"
#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr double kTolerance = 3e-7;
constexpr int64_t kNumPositions = 11;

// Any angles will do, and cosines and sines of no common angle show a swapped pair.
Tensor make_table(Stream& stream, int64_t head_size, DType storage = DType::kF32) {
  return random_tensor(stream, {kNumPositions, head_size}, 77, 1, storage);
}

Tensor make_positions(Stream& stream, int64_t seq) {
  std::vector<int32_t> positions;
  for (int64_t s = 0; s < seq; ++s)
    positions.push_back(static_cast<int32_t>(s * 7 % kNumPositions));
  return tensor_of<int32_t>(stream, {seq}, positions);
}

std::vector<double> reference(std::vector<double> x, const Shape& shape, const Tensor& positions,
                              const Tensor& table, double sign) {
  const size_t head_size = shape[3], half = head_size / 2;
  const std::vector<double> angles = to_doubles(table);
  for (size_t row = 0; row < x.size() / head_size; ++row) {
    const size_t s = row / shape[2] % shape[1];
    const size_t p = positions.data<int32_t>()[s];
    for (size_t i = 0; i < half; ++i) {
      double& low = x[row * head_size + i];
      double& high = x[row * head_size + half + i];
      const double cosine = angles[p * head_size + i];
      const double sine = sign * angles[p * head_size + half + i];
      const double rotated = low * cosine - high * sine;
      high = high * cosine + low * sine;
      low = rotated;
    }
  }
  return x;
}

}  // namespace

TEST_CASE("rope rotates pairs by the angle of their position, backward by its negative") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const DType of_table : {DType::kF32, storage})
      for (const Shape& shape :
           {Shape{1, 1, 1, 2}, Shape{2, 3, 5, 6}, Shape{3, 17, 4, 34}, Shape{2, 97, 13, 66}}) {
        const Tensor positions = make_positions(stream, shape[1]);
        const Tensor table = make_table(stream, shape[3], of_table);
        const Tensor x = random_tensor(stream, shape, 1, 1, storage), dx = copy_of(stream, x);
        const std::vector<double> before = to_doubles(x);
        kernels::rope_forward(stream, x, positions, table);
        CHECK(max_relative_error(x, reference(before, shape, positions, table, 1)) <
              kTolerance + rounding(storage));
        kernels::rope_backward(stream, dx, positions, table);
        CHECK(max_relative_error(dx, reference(before, shape, positions, table, -1)) <
              kTolerance + rounding(storage));
      }
  });
}

TEST_CASE("rope rotates heads inside a packed projection and nothing beside them") {
  on_every_stream([](Stream& stream) {
    const int64_t batch = 2, seq = 5, heads = 3, others = 2, head_size = 18;
    const Tensor packed = random_tensor(stream, {batch, seq, (heads + others) * head_size}, 2);
    const Tensor split = packed.unflatten(2, heads + others, head_size);
    const Tensor x = split.slice(2, 0, heads), rest = split.slice(2, heads, heads + others);
    const std::vector<double> before = to_doubles(x), rest_before = to_doubles(rest);
    const Tensor positions = make_positions(stream, seq), table = make_table(stream, head_size);
    kernels::rope_forward(stream, x, positions, table);
    CHECK(max_relative_error(x, reference(before, x.shape(), positions, table, 1)) < kTolerance);
    CHECK(to_doubles(rest) == rest_before);
  });
}

TEST_CASE("rope backward is the gradient of forward") {
  on_every_stream([](Stream& stream) {
    const Shape shape = {2, 3, 2, 10};
    const Tensor positions = make_positions(stream, 3), table = make_table(stream, 10);
    const Tensor x = random_tensor(stream, shape, 3), dx = random_tensor(stream, shape, 4);
    const std::vector<double> dy = to_doubles(dx);
    const std::vector<double> expected = central_differences(
        [&](const std::vector<double>& v) {
          return dot(dy, reference(v, shape, positions, table, 1));
        },
        to_doubles(x));
    kernels::rope_backward(stream, dx, positions, table);
    CHECK(max_relative_error(dx, expected) < kTolerance);
  });
}

TEST_CASE("rope gives the same bits for any number of threads") {
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    const Tensor x = random_tensor(stream, {2, 97, 13, 66}, 5);
    kernels::rope_forward(stream, x, make_positions(stream, 97), make_table(stream, 66));
    return {x};
  }));
}

TEST_CASE("rope refuses odd heads, positions outside the table and other dtypes") {
  Arena arena(Device{}, 1 << 20);
  Stream stream(arena, 1, CpuIsa::kV3);
  const Tensor positions = make_positions(stream, 3), table = make_table(stream, 4);
  const Tensor x = poisoned(stream, {1, 3, 1, 4});
  kernels::rope_forward(stream, x, positions, table);
  for (int32_t outside : {-1, static_cast<int32_t>(kNumPositions)}) {
    const Tensor wrong = tensor_of<int32_t>(stream, {3}, {0, 1, outside});
    CHECK_THROWS_AS(kernels::rope_forward(stream, x, wrong, table), InvariantError);
  }
  CHECK_THROWS_AS(kernels::rope_forward(stream, poisoned(stream, {1, 3, 1, 5}), positions,
                                        make_table(stream, 5)),
                  InvariantError);
  CHECK_THROWS_AS(kernels::rope_forward(stream, x, positions, make_table(stream, 6)),
                  InvariantError);
  CHECK_THROWS_AS(
      kernels::rope_forward(stream, poisoned<int32_t>(stream, {1, 3, 1, 4}), positions, table),
      InvariantError);
}
