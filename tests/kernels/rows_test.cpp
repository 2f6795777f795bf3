#include "kernels/rows.h"

#include "lib/core/error.h"
#include "tests/support/determinism.h"
#include "tests/support/gradients.h"
#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::test;

namespace {

struct Sizes {
  int64_t num_tokens, k, h;
  int64_t num_places() const { return 2 * num_tokens * k; }
};
// h = 1003 is several blocks of columns; the last two are large enough for three threads.
const Sizes kSizes[] = {{0, 2, 3},    {1, 1, 1},     {5, 3, 17},    {40, 2, 256},
                        {33, 1, 257}, {30000, 4, 1}, {101, 3, 1003}};

// Where choice j of token t goes, [T, k]: in reverse order, with a gap after every third place;
// every fifth choice is dropped.
std::vector<int32_t> place_of_choice(const Sizes& s) {
  std::vector<int32_t> places;
  for (int64_t i = s.num_tokens * s.k - 1; i >= 0; --i)
    places.push_back(static_cast<int32_t>(i % 5 == 4 ? -1 - i : i / 3 * 4 + i % 3));
  return places;
}

// The inverse: the token that lies at each place.
std::vector<int32_t> token_at_place(const Sizes& s) {
  std::vector<int32_t> tokens(s.num_places(), -3);
  int64_t choice = 0;
  for (int32_t place : place_of_choice(s)) {
    if (place >= 0) tokens[place] = static_cast<int32_t>(choice / s.k);
    ++choice;
  }
  return tokens;
}

Tensor places(Stream& stream, const Sizes& s) {
  return tensor_of(stream, {s.num_tokens, s.k}, place_of_choice(s));
}
Tensor tokens(Stream& stream, const Sizes& s) {
  return tensor_of(stream, {s.num_places()}, token_at_place(s));
}

std::vector<double> reference_gather(const Sizes& s, const std::vector<double>& x) {
  std::vector<double> out;
  for (int32_t token : token_at_place(s))
    for (int64_t j = 0; j < s.h; ++j) out.push_back(token < 0 ? 0 : x[token * s.h + j]);
  return out;
}

// In fp32, as the op sums: in the order of the choices.
std::vector<float> reference_sum(const Sizes& s, const std::vector<float>& x) {
  std::vector<float> out(s.num_tokens * s.h);
  int64_t choice = 0;
  for (int32_t place : place_of_choice(s)) {
    for (int64_t j = 0; place >= 0 && j < s.h; ++j)
      out[choice / s.k * s.h + j] += x[place * s.h + j];
    ++choice;
  }
  return out;
}

}  // namespace

TEST_CASE("gather takes rows by index, zeros where there is none") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Sizes& s : kSizes) {
      const Tensor x = random_tensor(stream, {s.num_tokens, s.h}, 1, 1, storage);
      const Tensor out = poisoned(stream, {s.num_places(), s.h}, storage);
      kernels::gather_rows(stream, x, tokens(stream, s), out);
      CHECK(to_doubles(out) == reference_gather(s, to_doubles(x)));
    }
  });
}

TEST_CASE("sum adds rows in the order of their indices, zeros where there is none") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Sizes& s : kSizes) {
      const Tensor x = random_tensor(stream, {s.num_places(), s.h}, 2, 1, storage);
      const Tensor out = poisoned(stream, {s.num_tokens, s.h}, storage);
      kernels::sum_rows(stream, x, places(stream, s), out);
      CHECK(elements(out) == rounded(reference_sum(s, elements(x)), storage));
    }
  });
}

TEST_CASE("gather and sum are each other's gradient") {
  on_every_stream([](Stream& stream) {
    for (const Sizes& s : kSizes) {
      const Tensor x = random_tensor(stream, {s.num_tokens, s.h}, 3);
      const Tensor dout = random_tensor(stream, {s.num_places(), s.h}, 4);
      const Tensor out = poisoned(stream, dout.shape()), dx = poisoned(stream, x.shape());
      kernels::gather_rows(stream, x, tokens(stream, s), out);
      kernels::sum_rows(stream, dout, places(stream, s), dx);
      const double there = dot(to_doubles(out), to_doubles(dout));
      CHECK(dot(to_doubles(x), to_doubles(dx)) == doctest::Approx(there).epsilon(1e-6));
    }
  });
}

TEST_CASE("rows of no source: nothing but zeros") {
  on_every_stream([](Stream& stream) {
    const Tensor x = poisoned(stream, {0, 3}), out = poisoned(stream, {2, 3});
    kernels::gather_rows(stream, x, tensor_of<int32_t>(stream, {2}, {-1, -7}), out);
    CHECK(elements(out) == std::vector<float>(6, 0.0f));
    poison(out);
    kernels::sum_rows(stream, x, tensor_of<int32_t>(stream, {2, 1}, {-1, -7}), out);
    CHECK(elements(out) == std::vector<float>(6, 0.0f));
    poison(out);
    kernels::sum_rows(stream, x, poisoned<int32_t>(stream, {2, 0}), out);
    CHECK(elements(out) == std::vector<float>(6, 0.0f));
  });
}

TEST_CASE("moved rows have the same bits for any number of threads") {
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    const Sizes s = {101, 3, 1003};
    const Tensor x = random_tensor(stream, {s.num_tokens, s.h}, 5);
    const Tensor out = poisoned(stream, {s.num_places(), s.h}), sum = poisoned(stream, x.shape());
    kernels::gather_rows(stream, x, tokens(stream, s), out);
    kernels::sum_rows(stream, out, places(stream, s), sum);
    return {out, sum};
  }));
}

TEST_CASE("rows refuse indices beyond them, other shapes and dtypes") {
  Arena arena(Device{}, 1 << 20);
  Stream stream(arena, 1, CpuIsa::kV3);
  const Tensor x = poisoned(stream, {3, 4}), out = poisoned(stream, {2, 4});
  const Tensor index = tensor_of<int32_t>(stream, {2}, {0, 2}), pairs = index.view({2, 1});
  const Tensor beyond = tensor_of<int32_t>(stream, {2}, {-1, 3});
  CHECK_THROWS_AS(kernels::gather_rows(stream, x, beyond, out), InvariantError);
  CHECK_THROWS_AS(kernels::sum_rows(stream, x, beyond.view({2, 1}), out), InvariantError);
  CHECK_THROWS_AS(kernels::gather_rows(stream, x, pairs, out), InvariantError);
  CHECK_THROWS_AS(kernels::gather_rows(stream, x, index, x), InvariantError);
  CHECK_THROWS_AS(kernels::gather_rows(stream, x, poisoned(stream, {2}), out), InvariantError);
  CHECK_THROWS_AS(kernels::gather_rows(stream, poisoned<BFloat16>(stream, {3, 4}), index, out),
                  InvariantError);
  CHECK_THROWS_AS(kernels::sum_rows(stream, x, index, out), InvariantError);
  CHECK_THROWS_AS(kernels::sum_rows(stream, x, pairs, poisoned(stream, {2, 3})), InvariantError);
}

TEST_CASE("rows read no index on a record device") {
  Arena arena(Device{DeviceKind::kRecord}, Arena::kUnlimited);
  Stream stream(arena, 1, CpuIsa::kV3);
  const auto tensor = [&](DType dtype, const Shape& shape) {
    return Tensor(arena, dtype, shape, MemoryCategory::kActivations, "test");
  };
  const Tensor x = tensor(DType::kF32, {3, 4}), out = tensor(DType::kF32, {2, 4});
  const Tensor index = tensor(DType::kI32, {2});
  CHECK_NOTHROW(kernels::gather_rows(stream, x, index, out));
  CHECK_NOTHROW(kernels::sum_rows(stream, x, index.view({2, 1}), out));
}
