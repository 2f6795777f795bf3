#include "lib/data/numpy_random.h"

#include <doctest/doctest.h>

#include <numeric>
#include <vector>

using namespace nemo;

namespace {

std::vector<uint32_t> counting(size_t count) {
  std::vector<uint32_t> items(count);
  std::iota(items.begin(), items.end(), 0u);
  return items;
}

template <typename T>
std::vector<T> shuffled(NumpyRandom& random, std::vector<T> items) {
  random.shuffle(std::span<T>(items));
  return items;
}

}  // namespace

TEST_CASE("a shuffle is numpy's") {
  NumpyRandom random(42);
  CHECK(shuffled(random, counting(10)) == std::vector<uint32_t>{8, 1, 5, 0, 7, 2, 9, 4, 3, 6});
  NumpyRandom largest(4294967295u);
  CHECK(shuffled(largest, counting(6)) == std::vector<uint32_t>{1, 4, 5, 0, 2, 3});
}

TEST_CASE("one generator goes on from shuffle to shuffle, also of many items") {
  // numpy 2.4.6: RandomState(1234), 100000 items, then 20.
  NumpyRandom random(1234);
  const std::vector<uint32_t> many = shuffled(random, counting(100000));
  CHECK(std::vector<uint32_t>(many.begin(), many.begin() + 8) ==
        std::vector<uint32_t>{13504, 72599, 42217, 97650, 99120, 13165, 56244, 72729});
  int64_t sum = 0;
  for (size_t i = 0; i < many.size(); ++i) sum += static_cast<int64_t>(i) * many[i];
  CHECK(sum == 249809377481287);
  std::vector<int32_t> few(20);
  std::iota(few.begin(), few.end(), 0);
  CHECK(shuffled(random, few) ==
        std::vector<int32_t>{19, 18, 1, 13, 4, 0, 15, 8, 12, 5, 9, 17, 16, 2, 14, 7, 3, 10, 6, 11});
}

TEST_CASE("one item, or none, draws nothing") {
  // numpy 2.4.6: RandomState(0), 1 item, then 6.
  NumpyRandom random(0);
  CHECK(shuffled(random, counting(1)) == std::vector<uint32_t>{0});
  CHECK(shuffled(random, counting(0)).empty());
  CHECK(shuffled(random, counting(6)) == std::vector<uint32_t>{5, 2, 1, 3, 0, 4});
}
