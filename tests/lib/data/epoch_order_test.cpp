#include "lib/data/epoch_order.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <vector>

#include "lib/core/error.h"

using namespace nemo;

namespace {

std::vector<int64_t> pass(const EpochOrder& order, int64_t count, int64_t epoch) {
  std::vector<int64_t> samples;
  for (int64_t i = 0; i < count; ++i) samples.push_back(order(epoch * count + i));
  return samples;
}

std::vector<int64_t> in_file_order(int64_t count) {
  std::vector<int64_t> samples;
  for (int64_t i = 0; i < count; ++i) samples.push_back(i);
  return samples;
}

}  // namespace

TEST_CASE("every shuffled pass holds each sample once") {
  for (int64_t count : {1, 2, 3, 4, 5, 10, 16, 17, 100, 1000, 4097}) {
    const EpochOrder order(count, true, 1234);
    for (int64_t epoch : {0, 1, 7}) {
      std::vector<int64_t> samples = pass(order, count, epoch);
      std::ranges::sort(samples);
      CHECK(samples == in_file_order(count));
    }
  }
}

TEST_CASE("passes, seeds and file order differ from each other") {
  const EpochOrder order(100, true, 1234);
  CHECK(pass(order, 100, 0) != pass(order, 100, 1));
  CHECK(pass(order, 100, 0) != pass(EpochOrder(100, true, 1235), 100, 0));
  CHECK(pass(order, 100, 0) != in_file_order(100));
  CHECK(pass(EpochOrder(100, false, 1234), 100, 3) == in_file_order(100));
}

TEST_CASE("the order is the one that earlier runs used") {
  // From an implementation of the same formulas in another language.
  CHECK(pass(EpochOrder(10, true, 1234), 10, 0) ==
        std::vector<int64_t>{6, 7, 4, 5, 0, 3, 9, 1, 8, 2});
  CHECK(pass(EpochOrder(10, true, 1234), 10, 1) ==
        std::vector<int64_t>{0, 4, 2, 1, 8, 5, 6, 3, 9, 7});
}

TEST_CASE("all permutations of three and all places of twenty are about equally likely") {
  std::array<int, 9> orders{};
  std::array<std::array<int, 20>, 20> places{};
  constexpr int kSeeds = 6000;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const EpochOrder three(3, true, seed);
    ++orders[static_cast<size_t>(3 * three(0) + three(1))];
    const EpochOrder twenty(20, true, seed);
    for (size_t i = 0; i < 20; ++i)
      ++places[i][static_cast<size_t>(twenty(static_cast<int64_t>(i)))];
  }
  for (size_t i = 0; i < 9; ++i) {
    const int expected = i % 4 == 0 ? 0 : kSeeds / 6;
    CHECK(std::abs(orders[i] - expected) <= expected / 8);  // 4 standard deviations
  }
  double chi_squared = 0.0;
  for (const auto& row : places)
    for (int n : row) chi_squared += (n - 300.0) * (n - 300.0) / 300.0;
  CHECK(chi_squared < 480.0);  // mean 361, standard deviation 27
}

TEST_CASE("huge parts cost no memory, and bad arguments are refused") {
  const EpochOrder order(int64_t{1} << 62, true, 1);
  CHECK(order(0) != order(1));
  CHECK(order((int64_t{1} << 62) - 1) < int64_t{1} << 62);
  CHECK_THROWS_AS(order(-1), InvariantError);
  CHECK_THROWS_AS(EpochOrder(0, true, 1), InvariantError);
}
