#include "kernels/router_balance.h"

#include <doctest/doctest.h>

#include <vector>

#include "tests/support/tensors.h"

using namespace nemo;
using namespace nemo::test;

namespace {

Tensor f64(Stream& stream, const Shape& shape, const std::vector<double>& values) {
  Tensor t(stream.arena(), DType::kF64, shape, MemoryCategory::kData, "values");
  std::copy(values.begin(), values.end(), t.data<double>());
  return t;
}

}  // namespace

TEST_CASE("router_load is the auxiliary loss and its gradient by probabilities") {
  on_every_stream([](Stream& stream) {
    // 6 tokens, 2 choices each, 3 experts.
    const Tensor sums = f64(stream, {8}, {3, 7, 2, 1.5, 3.25, 1.25, 99, 99});
    const Tensor loss = f64(stream, {1}, {10});
    const Tensor load(stream.arena(), DType::kF32, {3}, MemoryCategory::kData, "load");
    kernels::router_load(
        stream, sums, {.num_tokens = 6, .top_k = 2, .coeff = 0.5, .weight = 0.25, .num_peers = 4},
        load, loss);
    const double products = 3.0 / 12 * 1.5 / 6 + 7.0 / 12 * 3.25 / 6 + 2.0 / 12 * 1.25 / 6;
    CHECK(item<double>(loss) == doctest::Approx(10 + 0.5 * 3 * products / 4).epsilon(1e-14));
    for (int e = 0; e < 3; ++e)
      CHECK(load.data<float>()[e] ==
            doctest::Approx(0.25 * 0.5 * 3 * sums.data<double>()[e] / 12 / 6).epsilon(1e-7));
  });
}

TEST_CASE("router_update_bias moves towards experts below the mean") {
  on_every_stream([](Stream& stream) {
    const Tensor totals = f64(stream, {2, 4}, {1, 5, 3, 77, 2, 2, 2, 77});
    const Tensor bias(stream.arena(), DType::kF32, {2, 3}, MemoryCategory::kData, "bias");
    const float before[] = {0.5f, 0.5f, 0.5f, -1, 0, 1};
    std::copy(std::begin(before), std::end(before), bias.data<float>());
    kernels::router_update_bias(stream, totals, 0.25f, bias);
    const float expected[] = {0.75f, 0.25f, 0.5f, -1, 0, 1};
    for (int i = 0; i < 6; ++i) CHECK(bias.data<float>()[i] == expected[i]);
  });
}
