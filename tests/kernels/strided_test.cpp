#include "kernels/strided.h"

#include "lib/core/error.h"
#include "tests/support/determinism.h"
#include "tests/support/gradients.h"
#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::test;

namespace {

// Views of one shape over tensors of three forms: whole, a range of an inner dim, of an outer one.
std::vector<std::pair<Tensor, Tensor>> views(Stream& stream, const Shape& s,
                                             DType storage = DType::kF32) {
  const Tensor whole = poisoned(stream, s, storage);
  const Tensor heads = poisoned(stream, {s[0], s[1], s[2] + 3, s[3]}, storage);
  const Tensor rows = poisoned(stream, {s[0], s[1] + 4, s[2], s[3]}, storage);
  const Tensor both = poisoned(stream, {s[0], s[1] + 4, s[2] + 3, s[3] + 1}, storage);
  return {{whole, whole},
          {heads, heads.slice(2, 1, 1 + s[2])},
          {rows, rows.slice(1, 4, 4 + s[1])},
          {both, both.slice(1, 0, s[1]).slice(2, 3, 3 + s[2]).slice(3, 1, 1 + s[3])}};
}

int64_t num_poisoned(const Tensor& tensor) {
  int64_t count = 0;
  for_each_element<float>(tensor, [&](float& x) { count += std::isnan(x); });
  return count;
}

const Shape kShapes[] = {{0, 2, 3, 4}, {1, 1, 1, 1}, {2, 5, 3, 7}, {3, 97, 6, 66}};

}  // namespace

TEST_CASE("strided copies and sums reach every element and nothing beside them") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Shape& shape : kShapes) {
      CAPTURE(shape.to_string());
      const std::vector<double> sum =
          sum_of(to_doubles(random_tensor(stream, shape, 1, 1, storage)),
                 to_doubles(random_tensor(stream, shape, 2, 1, storage)));
      for (const auto& [from_all, from] : views(stream, shape, storage)) {
        fill_random(from, 1);
        for (const auto& [to_all, to] : views(stream, shape, storage)) {
          kernels::strided_copy(stream, from, to);
          CHECK(same_bits(to, from));
          fill_random(to, 2);
          kernels::strided_add(stream, from, to);
          CHECK(max_relative_error(to, sum) < 1e-7 + rounding(storage));
          CHECK(num_poisoned(to_all) == to_all.numel() - shape.numel());
        }
      }
    }
  });
}

TEST_CASE("strided copies and sums round where they narrow") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    const Shape shape = {3, 5, 67};
    const Tensor wide = random_tensor(stream, shape, 1), narrow = poisoned(stream, shape, storage);
    kernels::strided_copy(stream, wide, narrow);
    CHECK(elements(narrow) == rounded(elements(wide), storage));
    kernels::strided_copy(stream, narrow, wide);
    CHECK(elements(wide) == elements(narrow));
    const std::vector<double> twice = sum_of(to_doubles(wide), to_doubles(wide));
    kernels::strided_add(stream, narrow, wide);
    CHECK(to_doubles(wide) == twice);
  });
}

TEST_CASE("strided copies and sums take any number of dims") {
  Arena arena(Device{}, 1 << 20);
  Stream stream(arena, 1, CpuIsa::kV3);
  for (const Shape& shape : {Shape{7}, Shape{3, 5}, Shape{2, 3, 2, 5, 3}}) {
    const Tensor from = random_tensor(stream, shape, 1), to = poisoned(stream, shape);
    kernels::strided_copy(stream, from, to);
    CHECK(same_bits(to, from));
  }
}

TEST_CASE("strided sums give the same bits for any number of threads") {
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    const Tensor from = random_tensor(stream, {2, 97, 9, 66}, 1);
    const Tensor to = random_tensor(stream, {2, 97, 7, 66}, 2);
    kernels::strided_add(stream, from.slice(2, 1, 8), to);
    return {to};
  }));
}

TEST_CASE("strided copies and sums refuse other shapes and dtypes") {
  Arena arena(Device{}, 1 << 20);
  Stream stream(arena, 1, CpuIsa::kV3);
  const Tensor a = poisoned(stream, {2, 4}), b = poisoned(stream, {4, 2});
  const Tensor ids = poisoned<int32_t>(stream, {2, 4});
  for (const auto op : {kernels::strided_copy, kernels::strided_add}) {
    CHECK_THROWS_AS(op(stream, a, b), InvariantError);
    CHECK_THROWS_AS(op(stream, a, ids), InvariantError);
    CHECK_THROWS_AS(op(stream, ids, a), InvariantError);
  }
}
