#include "kernels/grouped_matmul.h"

#include <numeric>

#include "kernels/matmul.h"
#include "lib/core/error.h"
#include "tests/support/determinism.h"
#include "tests/support/gradients.h"
#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr double kTolerance = 2e-6;

using Offsets = std::vector<int64_t>;

struct Case {
  int64_t num_rows, in, out;
  Offsets offsets;
  int64_t num_experts() const { return static_cast<int64_t>(offsets.size()) - 1; }
};
// Empty experts, rows before and after the runs, nothing at all; the last two are several tiles.
const Case kCases[] = {{1, 1, 1, {0, 1}},
                       {4, 1, 3, {0, 1, 4}},
                       {6, 2, 1, {1, 6}},
                       {9, 5, 3, {2, 2, 5, 5, 7}},
                       {0, 3, 2, {0, 0, 0}},
                       {5, 17, 33, {3, 3, 3}},
                       {1103, 65, 31, {3, 900, 917, 1100}},
                       {40, 519, 521, {0, 1, 34, 40}}};

// The expert of each row, -1 outside the runs.
std::vector<int64_t> expert_of_row(const Case& c) {
  std::vector<int64_t> experts(c.num_rows, -1);
  for (int64_t e = 0; e < c.num_experts(); ++e)
    for (int64_t r = c.offsets[e]; r < c.offsets[e + 1]; ++r) experts[r] = e;
  return experts;
}

using Vector = std::vector<double>;

// Calls visit(row, o, i, o-th weight row's element i) for every product that takes part.
template <typename Visit>
void for_each_term(const Case& c, const Visit& visit) {
  const std::vector<int64_t> experts = expert_of_row(c);
  for (int64_t r = 0; r < c.num_rows; ++r)
    for (int64_t o = 0; experts[r] >= 0 && o < c.out; ++o)
      for (int64_t i = 0; i < c.in; ++i)
        visit(r * c.in + i, r * c.out + o, (experts[r] * c.out + o) * c.in + i);
}

Vector reference_y(const Case& c, const Vector& x, const Vector& w) {
  Vector y(c.num_rows * c.out);
  for_each_term(c, [&](int64_t xi, int64_t yi, int64_t wi) { y[yi] += x[xi] * w[wi]; });
  return y;
}
Vector reference_dx(const Case& c, const Vector& dy, const Vector& w) {
  Vector dx(c.num_rows * c.in);
  for_each_term(c, [&](int64_t xi, int64_t yi, int64_t wi) { dx[xi] += dy[yi] * w[wi]; });
  return dx;
}
Vector reference_dw(const Case& c, const Vector& dy, const Vector& x) {
  Vector dw(c.num_experts() * c.out * c.in);
  for_each_term(c, [&](int64_t xi, int64_t yi, int64_t wi) { dw[wi] += dy[yi] * x[xi]; });
  return dw;
}

struct Operands {
  Tensor x, w, dy;
  Operands(Stream& stream, const Case& c, uint64_t seed = 1, DType storage = DType::kF32)
      : x(random_tensor(stream, {c.num_rows, c.in}, seed, 1, storage)),
        w(random_tensor(stream, {c.num_experts() * c.out, c.in}, seed + 1, 1, storage)),
        dy(random_tensor(stream, {c.num_rows, c.out}, seed + 2, 1, storage)) {}
};

// Of rows inside the runs; the others must still be poisoned.
double error_inside(const Case& c, const Tensor& got, const Vector& expected) {
  const int64_t first = c.offsets.front(), last = c.offsets.back(), width = got.size(1);
  const bool untouched = is_still_poisoned(got.slice(0, 0, first)) &&
                         is_still_poisoned(got.slice(0, last, c.num_rows));
  const Vector inside(expected.begin() + first * width, expected.begin() + last * width);
  return untouched ? max_relative_error(got.slice(0, first, last), inside)
                   : std::numeric_limits<double>::infinity();
}

struct Outputs {
  Tensor y, dx, dw;
};

Outputs run(Stream& stream, const Case& c, const Operands& operands) {
  const auto& [x, w, dy] = operands;
  const Outputs out = {poisoned(stream, dy.shape(), dy.dtype()),
                       poisoned(stream, x.shape(), x.dtype()), poisoned(stream, w.shape())};
  kernels::grouped_matmul_forward(stream, x, w, c.offsets, out.y);
  kernels::grouped_matmul_backward_input(stream, dy, w, c.offsets, out.dx);
  kernels::grouped_matmul_backward_weight(stream, dy, x, c.offsets, out.dw, false);
  return out;
}

}  // namespace

TEST_CASE("grouped products equal the formulas, and leave rows outside the runs alone") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Case& c : kCases) {
      const Operands operands(stream, c, 1, storage);
      const Outputs out = run(stream, c, operands);
      const Vector x = to_doubles(operands.x), w = to_doubles(operands.w),
                   dy = to_doubles(operands.dy);
      CHECK(error_inside(c, out.y, reference_y(c, x, w)) < kTolerance + rounding(storage));
      CHECK(error_inside(c, out.dx, reference_dx(c, dy, w)) < kTolerance + rounding(storage));
      const Vector dw = reference_dw(c, dy, x);
      CHECK(max_relative_error(out.dw, dw) < kTolerance);

      const Tensor sum = random_tensor(stream, operands.w.shape(), 5);
      const Vector before = to_doubles(sum);
      kernels::grouped_matmul_backward_weight(stream, operands.dy, operands.x, c.offsets, sum,
                                              true);
      CHECK(max_relative_error(sum, sum_of(dw, before)) < kTolerance);
    }
  });
}

TEST_CASE("an expert without rows gets zeros, or keeps what it has") {
  on_every_stream([](Stream& stream) {
    const Case c = {6, 3, 2, {0, 3, 3, 6}};
    const Operands operands(stream, c);
    const Outputs out = run(stream, c, operands);
    CHECK(elements(out.dw.slice(0, 2, 4)) == std::vector<float>(6, 0.0f));
    const Tensor sum = random_tensor(stream, operands.w.shape(), 5), before = copy_of(stream, sum);
    kernels::grouped_matmul_backward_weight(stream, operands.dy, operands.x, c.offsets, sum, true);
    CHECK(same_bits(sum.slice(0, 2, 4), before.slice(0, 2, 4)));
  });
}

TEST_CASE("the grouped products are gradients of each other") {
  on_every_stream([](Stream& stream) {
    const Case c = {7, 4, 3, {1, 3, 3, 6}};
    const Operands operands(stream, c);
    const Outputs out = run(stream, c, operands);
    const Vector x = to_doubles(operands.x), w = to_doubles(operands.w),
                 dy = to_doubles(operands.dy);
    const auto loss = [&](const Vector& v, const Vector& u) {
      return dot(reference_y(c, v, u), dy);
    };
    CHECK(error_inside(c, out.dx,
                       central_differences([&](const Vector& v) { return loss(v, w); }, x)) <
          kTolerance);
    CHECK(max_relative_error(out.dw,
                             central_differences([&](const Vector& u) { return loss(x, u); }, w)) <
          kTolerance);
  });
}

TEST_CASE("counts that change at every call") {
  on_every_stream([](Stream& stream) {
    double error = 0;
    for (int64_t call = 0; call < 60; ++call) {
      Case c = {200, 9, 7, {0}};
      for (int64_t e = 0; e < 4; ++e)
        c.offsets.push_back(c.offsets.back() + static_cast<int64_t>(philox(call, e)[0] % 51));
      const Operands operands(stream, c, call);
      const Outputs out = run(stream, c, operands);
      const Vector x = to_doubles(operands.x), w = to_doubles(operands.w),
                   dy = to_doubles(operands.dy);
      error = std::max(error, error_inside(c, out.y, reference_y(c, x, w)));
      error = std::max(error, error_inside(c, out.dx, reference_dx(c, dy, w)));
      error = std::max(error, max_relative_error(out.dw, reference_dw(c, dy, x)));
    }
    CHECK(error < kTolerance);
  });
}

TEST_CASE("one expert is a linear layer, in bits") {
  on_every_stream([](Stream& stream) {
    const Case c = {301, 600, 130, {0, 301}};
    const Operands operands(stream, c);
    const auto& [x, w, dy] = operands;
    const Outputs out = run(stream, c, operands);
    const Outputs expected = {poisoned(stream, dy.shape(), dy.dtype()),
                              poisoned(stream, x.shape(), x.dtype()), poisoned(stream, w.shape())};
    kernels::matmul_forward(stream, x, w, Tensor(), expected.y);
    kernels::matmul_backward_input(stream, dy, w, expected.dx);
    kernels::matmul_backward_weight(stream, dy, x, expected.dw, false);
    CHECK(same_bits(out.y, expected.y));
    CHECK(same_bits(out.dx, expected.dx));
    CHECK(same_bits(out.dw, expected.dw));
  });
}

TEST_CASE("an expert alone computes the bits that it computes among others") {
  on_every_stream([](Stream& stream) {
    const Case c = {900, 600, 130, {5, 20, 620, 620, 897}};
    const Operands operands(stream, c);
    const Outputs together = run(stream, c, operands);
    for (int64_t e = 0; e < c.num_experts(); ++e) {
      const int64_t first = c.offsets[e], last = c.offsets[e + 1];
      const Case alone = {last - first, c.in, c.out, {0, last - first}};
      Operands part = operands;
      part.x = operands.x.slice(0, first, last);
      part.dy = operands.dy.slice(0, first, last);
      part.w = operands.w.slice(0, e * c.out, (e + 1) * c.out);
      const Outputs out = run(stream, alone, part);
      CHECK(same_bits(out.y, together.y.slice(0, first, last)));
      CHECK(same_bits(out.dx, together.dx.slice(0, first, last)));
      CHECK(same_bits(out.dw, together.dw.slice(0, e * c.out, (e + 1) * c.out)));
    }
  });
}

TEST_CASE("grouped products give the same bits for any number of threads") {
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    const Case c = {900, 600, 530, {0, 20, 620, 620, 900}};
    const Outputs out = run(stream, c, Operands(stream, c));
    return {out.y, out.dx, out.dw};
  }));
}

TEST_CASE("grouped products refuse offsets that do not fit, other shapes and dtypes") {
  Arena arena(Device{}, 1 << 20);
  Stream stream(arena, 1, CpuIsa::kV3);
  const Case c = {5, 3, 2, {0, 2, 5}};
  const Operands operands(stream, c);
  const Tensor x = operands.x, w = operands.w, dy = operands.dy;
  const auto forward = [&](const Offsets& offsets) {
    kernels::grouped_matmul_forward(stream, x, w, offsets, dy);
  };
  CHECK_NOTHROW(forward({0, 2, 5}));
  CHECK_THROWS_AS(forward({0, 2, 6}), InvariantError);
  CHECK_THROWS_AS(forward({-1, 2, 5}), InvariantError);
  CHECK_THROWS_AS(forward({0, 3, 2}), InvariantError);
  CHECK_THROWS_AS(forward({0, 5}), InvariantError);
  CHECK_THROWS_AS(forward({0}), InvariantError);
  CHECK_THROWS_AS(kernels::grouped_matmul_forward(stream, x, x, c.offsets, dy), InvariantError);
  CHECK_THROWS_AS(
      kernels::grouped_matmul_forward(stream, poisoned<int32_t>(stream, {5, 3}), w, c.offsets, dy),
      InvariantError);
  CHECK_THROWS_AS(kernels::grouped_matmul_backward_input(stream, dy, w, c.offsets, dy),
                  InvariantError);
  CHECK_THROWS_AS(kernels::grouped_matmul_backward_weight(stream, dy, x, c.offsets, x, false),
                  InvariantError);
}
