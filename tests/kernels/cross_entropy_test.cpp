#include "kernels/cross_entropy.h"

#include "lib/core/error.h"
#include "tests/support/determinism.h"
#include "tests/support/gradients.h"
#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr double kTolerance = 1e-6;
// Rows and columns; 10000 columns are several blocks.
const Shape kSizes[] = {{0, 3}, {1, 1}, {5, 17}, {7, 10000}, {211, 1000}};
constexpr int64_t kFirstCol = 3;

// Targets before, in and after the columns held here, and some that are none.
Tensor make_targets(Stream& stream, const Shape& shape) {
  std::vector<int32_t> targets;
  for (int64_t t = 0; t < shape[0]; ++t)
    targets.push_back(t % 4 == 3 ? -100 : static_cast<int32_t>(t * t * 31 % (shape[1] + 6)));
  return tensor_of<int32_t>(stream, {shape[0]}, targets);
}

struct Reference {
  std::vector<double> max, sum, target_logit, lse;
};

Reference reference(const std::vector<double>& logits, const Shape& shape, const Tensor& targets,
                    int64_t first_col) {
  Reference r;
  for (int64_t t = 0; t < shape[0]; ++t) {
    const double* row = logits.data() + t * shape[1];
    double max = row[0], sum = 0;
    for (int64_t v = 0; v < shape[1]; ++v) max = std::max(max, row[v]);
    for (int64_t v = 0; v < shape[1]; ++v) sum += std::exp(row[v] - max);
    const int64_t target = targets.data<int32_t>()[t] - first_col;
    r.max.push_back(max);
    r.sum.push_back(sum);
    r.lse.push_back(max + std::log(sum));
    r.target_logit.push_back(target >= 0 && target < shape[1] ? row[target] : 0.0);
  }
  return r;
}

Tensor to_tensor(Stream& stream, const std::vector<double>& values) {
  return tensor_of<float>(stream, {static_cast<int64_t>(values.size())},
                          std::vector<float>(values.begin(), values.end()));
}

}  // namespace

TEST_CASE("cross-entropy statistics equal the formulas") {
  on_every_stream([](Stream& stream) {
    for (const Shape& shape : kSizes) {
      const Tensor logits = random_tensor(stream, shape, 1, 20),
                   targets = make_targets(stream, shape);
      const Tensor max = poisoned(stream, {shape[0]}), sum = poisoned(stream, {shape[0]});
      const Tensor target_logit = poisoned(stream, {shape[0]});
      kernels::cross_entropy_statistics(stream, logits, targets, kFirstCol, max, sum, target_logit);
      const Reference expected = reference(to_doubles(logits), shape, targets, kFirstCol);
      CHECK(to_doubles(max) == expected.max);
      CHECK(max_relative_error(sum, expected.sum) < kTolerance);
      CHECK(to_doubles(target_logit) == expected.target_logit);
    }
  });
}

TEST_CASE("lse is the maximum plus the logarithm of the sum") {
  on_every_stream([](Stream& stream) {
    const Tensor whole = tensor_of<float>(
        stream, {1, 3, 3}, {1.5f, -40.0f, 0.0f, 1.0f, 3.0f, 1e20f, 7.0f, 8.0f, 9.0f});
    const Tensor lse = poisoned(stream, {3}), logit = poisoned(stream, {3});
    kernels::cross_entropy_lse(stream, whole, lse, logit);
    CHECK(max_relative_error(lse, {1.5, -40 + std::log(3.0), 20 * std::log(10.0)}) < kTolerance);
    CHECK(to_doubles(logit) == std::vector<double>{7, 8, 9});
  });
}

TEST_CASE("the statistics of a vocabulary in parts, one of them empty, are those of the whole") {
  on_every_stream([](Stream& stream) {
    const Shape shape = {37, 1500};
    const Tensor logits = random_tensor(stream, shape, 8, 40),
                 targets = make_targets(stream, shape);
    const int64_t cuts[] = {0, 700, 1499, 1500, 1500};
    const Tensor parts = poisoned(stream, {4, 3, shape[0]});
    for (int64_t i = 0; i < 4; ++i) {
      const Tensor columns = copy_of(stream, logits.slice(1, cuts[i], cuts[i + 1]));
      const Tensor part = parts.at(i);
      const auto row = [&](int64_t which) { return part.at(which); };
      kernels::cross_entropy_statistics(stream, columns, targets, cuts[i], row(0), row(1), row(2));
    }
    const Tensor lse = poisoned(stream, {shape[0]}), logit = poisoned(stream, {shape[0]});
    kernels::cross_entropy_lse(stream, parts, lse, logit);
    const Reference expected = reference(to_doubles(logits), shape, targets, 0);
    CHECK(max_relative_error(lse, expected.lse) < kTolerance);
    CHECK(to_doubles(logit) == expected.target_logit);
  });
}

TEST_CASE("a target that is none stays none where its number falls into the columns") {
  on_every_stream([](Stream& stream) {
    const Tensor logits = random_tensor(stream, {1, 4}, 2);
    const Tensor targets = tensor_of<int32_t>(stream, {1}, {-1});
    const Tensor max = poisoned(stream, {1}), sum = poisoned(stream, {1}),
                 logit = poisoned(stream, {1});
    kernels::cross_entropy_statistics(stream, logits, targets, -2, max, sum, logit);
    CHECK(item<float>(logit) == 0.0f);
  });
}

TEST_CASE("a maximum in a late block rescales the sum, and -inf counts nothing") {
  on_every_stream([](Stream& stream) {
    const Tensor logits = poisoned(stream, {1, 9000}),
                 targets = tensor_of<int32_t>(stream, {1}, {0});
    for (int64_t v = 0; v < 9000; ++v)
      logits.data<float>()[v] = v < 4500 ? -std::numeric_limits<float>::infinity() : 0.0f;
    logits.data<float>()[8999] = 50.0f;
    const Tensor max = poisoned(stream, {1}), sum = poisoned(stream, {1}),
                 logit = poisoned(stream, {1});
    kernels::cross_entropy_statistics(stream, logits, targets, 0, max, sum, logit);
    CHECK(item<float>(max) == 50.0f);
    CHECK(item<float>(sum) == 1.0f);
  });
}

TEST_CASE("cross-entropy backward equals the formula, zero where there is no target") {
  on_every_stream([](Stream& stream) {
    for (const Shape& shape : kSizes) {
      const Tensor logits = random_tensor(stream, shape, 3, 5),
                   targets = make_targets(stream, shape);
      std::vector<double> expected = to_doubles(logits);
      const Tensor lse = to_tensor(stream, reference(expected, shape, targets, kFirstCol).lse);
      for (size_t i = 0; i < expected.size(); ++i) {
        const int64_t t = static_cast<int64_t>(i) / shape[1],
                      v = static_cast<int64_t>(i) % shape[1];
        const int32_t target = targets.data<int32_t>()[t];
        const double p = std::exp(expected[i] - static_cast<double>(lse.data<float>()[t]));
        expected[i] = target < 0 ? 0 : 0.25 * (p - (target - kFirstCol == v ? 1 : 0));
      }
      kernels::cross_entropy_backward(stream, logits, targets, kFirstCol, lse, 0.25f);
      CHECK(max_relative_error(logits, expected) < kTolerance);
      for (int64_t t = 3; t < shape[0]; t += 4)
        CHECK(elements(logits.slice(0, t, t + 1)) == std::vector<float>(shape[1], 0.0f));
    }
  });
}

TEST_CASE("the loss sums tokens with a target, in double, onto what is there") {
  on_every_stream([](Stream& stream) {
    const Shape shape = {211, 10};
    const Tensor lse = random_tensor(stream, {211}, 4, 9),
                 logit = random_tensor(stream, {211}, 5, 9);
    const Tensor targets = make_targets(stream, shape), sum = poisoned<double>(stream, {1});
    double expected = 2.5;
    for (int64_t t = 0; t < 211; ++t)
      if (targets.data<int32_t>()[t] >= 0) expected += to_doubles(lse)[t] - to_doubles(logit)[t];
    sum.data<double>()[0] = 2.5;
    kernels::cross_entropy_loss(stream, lse, logit, targets, sum);
    CHECK(std::abs(item<double>(sum) - expected) < 1e-12 * std::abs(expected));
  });
}

TEST_CASE("cross-entropy backward is the gradient of the loss") {
  on_every_stream([](Stream& stream) {
    const Shape shape = {5, 17};
    const Tensor logits = random_tensor(stream, shape, 6, 3), targets = make_targets(stream, shape);
    const std::vector<double> before = to_doubles(logits);
    const auto loss = [&](const std::vector<double>& v) {
      const Reference r = reference(v, shape, targets, 0);
      double sum = 0;
      for (int64_t t = 0; t < shape[0]; ++t) {
        const int32_t target = targets.data<int32_t>()[t];
        if (target >= 0) sum += r.lse[t] - r.target_logit[t];
      }
      return 0.25 * sum;
    };
    const Tensor lse = to_tensor(stream, reference(before, shape, targets, 0).lse);
    kernels::cross_entropy_backward(stream, logits, targets, 0, lse, 0.25f);
    CHECK(max_relative_error(logits, central_differences(loss, before)) < kTolerance);
  });
}

TEST_CASE("cross-entropy gives the same bits for any number of threads") {
  CHECK(same_bits_for_any_threads([](Stream& stream) -> std::vector<Tensor> {
    const Shape shape = {211, 1000};
    const Tensor logits = random_tensor(stream, shape, 7, 5), targets = make_targets(stream, shape);
    const Tensor max = poisoned(stream, {211}), sum = poisoned(stream, {211});
    const Tensor logit = poisoned(stream, {211});
    kernels::cross_entropy_statistics(stream, logits, targets, 0, max, sum, logit);
    kernels::cross_entropy_backward(stream, logits, targets, 0, max, 0.5f);
    return {max, sum, logit, logits};
  }));
}

TEST_CASE("cross-entropy refuses other shapes and dtypes") {
  Arena arena(Device{}, 1 << 20);
  Stream stream(arena, 1, CpuIsa::kV3);
  const Tensor logits = poisoned(stream, {2, 3}), targets = poisoned<int32_t>(stream, {2});
  const Tensor row = poisoned(stream, {2}), wide = poisoned(stream, {3});
  CHECK_THROWS_AS(kernels::cross_entropy_statistics(stream, logits, row, 0, row, row, row),
                  InvariantError);
  CHECK_THROWS_AS(kernels::cross_entropy_statistics(stream, poisoned<BFloat16>(stream, {2, 3}),
                                                    targets, 0, row, row, row),
                  InvariantError);
  CHECK_THROWS_AS(kernels::cross_entropy_backward(stream, logits, targets, 0, wide, 1),
                  InvariantError);
  CHECK_THROWS_AS(kernels::cross_entropy_loss(stream, row, row, targets, row), InvariantError);
  CHECK_THROWS_AS(kernels::cross_entropy_lse(stream, poisoned(stream, {1, 3, 2}), wide, row),
                  InvariantError);
}
