#include "lib/data/mock.h"

#include <doctest/doctest.h>

#include <array>
#include <set>
#include <vector>

#include "lib/core/philox.h"

using namespace nemo;

TEST_CASE("a mock sample counts from s in steps of d, both drawn by seed and sample") {
  const MockDataset dataset(20, 16, 1234);
  std::set<std::pair<int32_t, int32_t>> seen;
  for (int64_t i = 0; i < 1000; ++i) {
    std::vector<int32_t> tokens(21);
    dataset.read(Part::kTrain, i, tokens);
    const PhiloxBlock random = philox(1234, static_cast<uint64_t>(i));
    const auto s = static_cast<int32_t>(1 + random[0] % 7);
    const auto d = static_cast<int32_t>(1 + random[1] % 7);
    std::vector<int32_t> expected;
    for (int32_t j = 0; j <= 20; ++j) expected.push_back((s + j * d) % 16);
    CHECK(tokens == expected);
    seen.emplace(s, d);
  }
  CHECK(seen.size() == 49);
}

TEST_CASE("mock parts have no end and draw apart, and vocabularies may be tiny") {
  const MockDataset dataset(3, 5, 1);
  CHECK(dataset.num_samples(Part::kTrain) == Dataset::kEndless);
  CHECK(dataset.num_samples(Part::kValidation) == Dataset::kEndless);
  int differing = 0;
  for (int64_t i = 0; i < 100; ++i) {
    std::array<int32_t, 4> train{};
    std::array<int32_t, 4> validation{};
    dataset.read(Part::kTrain, i, train);
    dataset.read(Part::kValidation, i, validation);
    differing += train != validation;
    for (int32_t token : train) CHECK((token >= 0 && token < 5));
  }
  CHECK(differing > 80);
}

TEST_CASE("open_dataset makes mock data from the recipe") {
  DataConfig config;
  config.kind = DataKind::kMock;
  config.seq_length = 3;
  const auto dataset = open_dataset(config, 100, 7, std::array{Part::kTrain});
  std::array<int32_t, 4> tokens{};
  std::array<int32_t, 4> expected{};
  dataset->read(Part::kTrain, 5, tokens);
  MockDataset(3, 100, 7).read(Part::kTrain, 5, expected);
  CHECK(tokens == expected);
}
