#include "kernels/matmul.h"

#include "lib/core/error.h"
#include "tests/support/determinism.h"
#include "tests/support/gradients.h"
#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr double kTolerance = 2e-6;

struct Sizes {
  int64_t m, n, k;
};
// Tiles are up to 12 x 32, blocks 256 terms x 512 columns: below a tile, at its edges, several
// blocks of each kind, in each of the three products. From 96 on, large enough for three threads.
const Sizes kSizes[] = {{1, 1, 1},      {1, 7, 130},    {5, 3, 2},      {12, 32, 64},
                        {17, 33, 65},   {64, 64, 300},  {256, 128, 96}, {70, 1030, 260},
                        {540, 80, 530}, {300, 257, 97}, {11, 600, 1030}};

// c[m, n] = sum_k a(m, k) b(k, n), for a and b as functions of their indices.
template <typename A, typename B>
std::vector<double> product(int64_t m, int64_t n, int64_t k, const A& a, const B& b) {
  std::vector<double> c(m * n);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t l = 0; l < k; ++l)
      for (int64_t j = 0; j < n; ++j) c[i * n + j] += a(i, l) * b(l, j);
  return c;
}

auto matrix(const std::vector<double>& values, int64_t num_cols) {
  return [&values, num_cols](int64_t i, int64_t j) { return values[i * num_cols + j]; };
}
auto transpose(const std::vector<double>& values, int64_t num_cols) {
  return [&values, num_cols](int64_t i, int64_t j) { return values[j * num_cols + i]; };
}

std::vector<double> column_sums(const std::vector<double>& values, int64_t num_cols) {
  std::vector<double> sums(num_cols);
  for (size_t i = 0; i < values.size(); ++i) sums[i % num_cols] += values[i];
  return sums;
}

// Columns [3, 3 + cols) of a wider poisoned matrix.
struct View {
  Tensor wide, view;
  View(Stream& stream, int64_t rows, int64_t cols, DType storage = DType::kF32)
      : wide(poisoned(stream, {rows, cols + 5}, storage)), view(wide.slice(1, 3, 3 + cols)) {}
  bool surroundings_are_untouched() const {
    return is_still_poisoned(wide.slice(1, 0, 3)) &&
           is_still_poisoned(wide.slice(1, wide.size(1) - 2, wide.size(1)));
  }
};

// The operands of a linear layer, strided, and the same as doubles.
struct Linear {
  View x, w, dy;
  Tensor bias;
  std::vector<double> x0, w0, dy0, bias0;
  Linear(Stream& stream, const Sizes& s, DType storage = DType::kF32)
      : x(stream, s.m, s.k, storage), w(stream, s.n, s.k, storage), dy(stream, s.m, s.n, storage) {
    fill_random(x.view, 1);
    fill_random(w.view, 2);
    fill_random(dy.view, 3);
    bias = random_tensor(stream, {s.n}, 4, 1, storage);
    x0 = to_doubles(x.view), w0 = to_doubles(w.view), dy0 = to_doubles(dy.view);
    bias0 = to_doubles(bias);
  }
};

}  // namespace

TEST_CASE("matmul forward equals the formula, with and without bias") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Sizes& s : kSizes) {
      const Linear linear(stream, s, storage);
      std::vector<double> expected =
          product(s.m, s.n, s.k, matrix(linear.x0, s.k), transpose(linear.w0, s.k));
      const View y(stream, s.m, s.n, storage);
      kernels::matmul_forward(stream, linear.x.view, linear.w.view, Tensor(), y.view);
      CHECK(max_relative_error(y.view, expected) < kTolerance + rounding(storage));

      for (size_t i = 0; i < expected.size(); ++i) expected[i] += linear.bias0[i % s.n];
      poison(y.view);
      kernels::matmul_forward(stream, linear.x.view, linear.w.view, linear.bias, y.view);
      CHECK(max_relative_error(y.view, expected) < kTolerance + rounding(storage));
      CHECK(y.surroundings_are_untouched());
    }
  });
}

TEST_CASE("matmul backward equals the formulas, = and +=") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Sizes& s : kSizes) {
      const Linear linear(stream, s, storage);
      const View dx(stream, s.m, s.k, storage), dw(stream, s.n, s.k);
      kernels::matmul_backward_input(stream, linear.dy.view, linear.w.view, dx.view);
      CHECK(max_relative_error(
                dx.view, product(s.m, s.k, s.n, matrix(linear.dy0, s.n), matrix(linear.w0, s.k))) <
            kTolerance + rounding(storage));
      CHECK(dx.surroundings_are_untouched());

      const std::vector<double> expected =
          product(s.n, s.k, s.m, transpose(linear.dy0, s.n), matrix(linear.x0, s.k));
      kernels::matmul_backward_weight(stream, linear.dy.view, linear.x.view, dw.view, false);
      CHECK(max_relative_error(dw.view, expected) < kTolerance);
      fill_random(dw.view, 5);
      const std::vector<double> before = to_doubles(dw.view);
      kernels::matmul_backward_weight(stream, linear.dy.view, linear.x.view, dw.view, true);
      CHECK(max_relative_error(dw.view, sum_of(expected, before)) < kTolerance);
      CHECK(dw.surroundings_are_untouched());
    }
  });
}

TEST_CASE("a linear layer takes tensors of any storage beside each other") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    const Sizes s = {17, 33, 65};
    const Tensor x = random_tensor(stream, {s.m, s.k}, 1, 1, storage),
                 w = random_tensor(stream, {s.n, s.k}, 2),
                 dy = random_tensor(stream, {s.m, s.n}, 3);
    const Tensor y = poisoned(stream, {s.m, s.n}), dx = poisoned(stream, {s.m, s.k}, storage),
                 dw = poisoned(stream, {s.n, s.k});
    const std::vector<double> x0 = to_doubles(x), w0 = to_doubles(w), dy0 = to_doubles(dy);
    kernels::matmul_forward(stream, x, w, Tensor(), y);
    CHECK(max_relative_error(y, product(s.m, s.n, s.k, matrix(x0, s.k), transpose(w0, s.k))) <
          kTolerance);
    kernels::matmul_backward_input(stream, dy, w, dx);
    CHECK(max_relative_error(dx, product(s.m, s.k, s.n, matrix(dy0, s.n), matrix(w0, s.k))) <
          kTolerance + rounding(storage));
    kernels::matmul_backward_weight(stream, dy, x, dw, false);
    CHECK(max_relative_error(dw, product(s.n, s.k, s.m, transpose(dy0, s.n), matrix(x0, s.k))) <
          kTolerance);
  });
}

TEST_CASE("bias backward sums the rows, = and +=") {
  on_every_stream_and_storage([](Stream& stream, DType storage) {
    for (const Sizes& s : {Sizes{1, 1, 1}, Sizes{5, 3, 1}, Sizes{301, 515, 1}}) {
      const Linear linear(stream, s, storage);
      const std::vector<double> expected = column_sums(linear.dy0, s.n);
      const Tensor dbias = poisoned(stream, {s.n}), sum = random_tensor(stream, {s.n}, 5);
      kernels::bias_backward(stream, linear.dy.view, dbias, false);
      CHECK(max_relative_error(dbias, expected) < kTolerance);
      const std::vector<double> before = to_doubles(sum);
      kernels::bias_backward(stream, linear.dy.view, sum, true);
      CHECK(max_relative_error(sum, sum_of(expected, before)) < kTolerance);
    }
  });
}

TEST_CASE("the products of a linear layer are gradients of each other") {
  on_every_stream([](Stream& stream) {
    const Sizes s = {4, 5, 3};
    const Linear linear(stream, s);
    const Tensor dx = poisoned(stream, {s.m, s.k}), dw = poisoned(stream, {s.n, s.k}),
                 dbias = poisoned(stream, {s.n});
    kernels::matmul_backward_input(stream, linear.dy.view, linear.w.view, dx);
    kernels::matmul_backward_weight(stream, linear.dy.view, linear.x.view, dw, false);
    kernels::bias_backward(stream, linear.dy.view, dbias, false);
    auto loss = [&](const std::vector<double>& x, const std::vector<double>& w,
                    const std::vector<double>& bias) {
      std::vector<double> y = product(s.m, s.n, s.k, matrix(x, s.k), transpose(w, s.k));
      for (size_t i = 0; i < y.size(); ++i) y[i] += bias[i % s.n];
      return dot(y, linear.dy0);
    };
    using Vector = std::vector<double>;
    CHECK(max_relative_error(
              dx,
              central_differences([&](const Vector& x) { return loss(x, linear.w0, linear.bias0); },
                                  linear.x0)) < kTolerance);
    CHECK(max_relative_error(
              dw,
              central_differences([&](const Vector& w) { return loss(linear.x0, w, linear.bias0); },
                                  linear.w0)) < kTolerance);
    CHECK(max_relative_error(
              dbias, central_differences(
                         [&](const Vector& bias) { return loss(linear.x0, linear.w0, bias); },
                         linear.bias0)) < kTolerance);
  });
}

TEST_CASE("matmul gives the same bits for any number of threads") {
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    const Sizes s = {523, 1050, 611};
    const Linear linear(stream, s);
    const Tensor y = poisoned(stream, {s.m, s.n}), dx = poisoned(stream, {s.m, s.k}),
                 dw = random_tensor(stream, {s.n, s.k}, 5);
    kernels::matmul_forward(stream, linear.x.view, linear.w.view, linear.bias, y);
    kernels::matmul_backward_input(stream, linear.dy.view, linear.w.view, dx);
    kernels::matmul_backward_weight(stream, linear.dy.view, linear.x.view, dw, true);
    return {y, dx, dw};
  }));
}

// As when tensor parallelism cuts the columns, or a longer batch the rows.
TEST_CASE("an element of a product has the same bits among other rows and columns") {
  on_every_stream([](Stream& stream) {
    const Sizes s = {300, 700, 530};
    const Linear linear(stream, s);
    const Tensor y = poisoned(stream, {s.m, s.n}), dx = poisoned(stream, {s.m, s.k}),
                 dw = poisoned(stream, {s.n, s.k});
    kernels::matmul_forward(stream, linear.x.view, linear.w.view, Tensor(), y);
    kernels::matmul_backward_input(stream, linear.dy.view, linear.w.view, dx);
    kernels::matmul_backward_weight(stream, linear.dy.view, linear.x.view, dw, false);
    for (const auto& [begin, end] : {std::pair<int64_t, int64_t>{0, 7}, {7, 20}, {20, 299}}) {
      const Tensor x = linear.x.view.slice(0, begin, end), w = linear.w.view.slice(0, begin, end);
      const Tensor part = poisoned(stream, {end - begin, end - begin});
      kernels::matmul_forward(stream, x, w, Tensor(), part);
      CHECK(same_bits(part, y.slice(0, begin, end).slice(1, begin, end)));

      const Tensor dx_part = poisoned(stream, {end - begin, end - begin});
      kernels::matmul_backward_input(stream, linear.dy.view.slice(0, begin, end),
                                     linear.w.view.slice(1, begin, end), dx_part);
      CHECK(same_bits(dx_part, dx.slice(0, begin, end).slice(1, begin, end)));

      const Tensor dw_part = poisoned(stream, {end - begin, end - begin});
      kernels::matmul_backward_weight(stream, linear.dy.view.slice(1, begin, end),
                                      linear.x.view.slice(1, begin, end), dw_part, false);
      CHECK(same_bits(dw_part, dw.slice(0, begin, end).slice(1, begin, end)));
    }
  });
}

TEST_CASE("bias backward gives the same bits for any number of threads") {
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    const Tensor dy = random_tensor(stream, {301, 515}, 1), dbias = poisoned(stream, {515});
    kernels::bias_backward(stream, dy, dbias, false);
    return {dbias};
  }));
}

TEST_CASE("a linear layer accepts no rows") {
  on_every_stream([](Stream& stream) {
    const Linear linear(stream, {0, 3, 2});
    const Tensor dw = poisoned(stream, {3, 2}), kept = random_tensor(stream, {3, 2}, 1),
                 dbias = poisoned(stream, {3});
    kernels::matmul_forward(stream, linear.x.view, linear.w.view, linear.bias, linear.dy.view);
    kernels::matmul_backward_input(stream, linear.dy.view, linear.w.view, linear.x.view);
    kernels::matmul_backward_weight(stream, linear.dy.view, linear.x.view, dw, false);
    kernels::bias_backward(stream, linear.dy.view, dbias, false);
    CHECK(to_doubles(dw) == std::vector<double>(6, 0.0));
    CHECK(to_doubles(dbias) == std::vector<double>(3, 0.0));
    const std::vector<double> before = to_doubles(kept);
    kernels::matmul_backward_weight(stream, linear.dy.view, linear.x.view, kept, true);
    CHECK(to_doubles(kept) == before);
  });
}

TEST_CASE("a linear layer accepts no outputs: a slice of the vocabulary without rows") {
  on_every_stream([](Stream& stream) {
    const Tensor x = random_tensor(stream, {3, 2}, 1), w = poisoned(stream, {0, 2});
    const Tensor y = poisoned(stream, {3, 0}), dx = poisoned(stream, {3, 2});
    kernels::matmul_forward(stream, x, w, Tensor(), y);
    kernels::matmul_backward_input(stream, y, w, dx);
    kernels::matmul_backward_weight(stream, y, x, w, true);
    CHECK(to_doubles(dx) == std::vector<double>(6, 0.0));
  });
}

TEST_CASE("matmul refuses shapes and dtypes that do not fit") {
  Arena arena(Device{}, 1 << 20);
  Stream stream(arena, 1, CpuIsa::kV3);
  const Tensor x = poisoned(stream, {2, 3}), w = poisoned(stream, {4, 3}),
               y = poisoned(stream, {2, 4});
  const Tensor bias = poisoned(stream, {3}), ids = poisoned<int32_t>(stream, {2, 4}),
               bf16 = poisoned<BFloat16>(stream, {4, 3});
  CHECK_THROWS_AS(kernels::matmul_forward(stream, x, y, Tensor(), y), InvariantError);
  CHECK_THROWS_AS(kernels::matmul_forward(stream, x, w, bias, y), InvariantError);
  CHECK_THROWS_AS(kernels::matmul_forward(stream, x, w, Tensor(), ids), InvariantError);
  CHECK_THROWS_AS(kernels::matmul_backward_input(stream, y, w, y), InvariantError);
  CHECK_THROWS_AS(kernels::matmul_backward_weight(stream, y, x, x, false), InvariantError);
  CHECK_THROWS_AS(kernels::matmul_backward_weight(stream, y, x, bf16, false), InvariantError);
  CHECK_THROWS_AS(kernels::bias_backward(stream, y, bias, false), InvariantError);
}
