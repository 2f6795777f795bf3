#include "lib/data/batch.h"

#include <doctest/doctest.h>

#include <array>
#include <vector>

#include "lib/core/error.h"
#include "lib/core/math.h"

using namespace nemo;

namespace {

constexpr int64_t kSeq = 2;
constexpr std::array kWhole = {Range{0, kSeq}};

// Sample i of the training part is 10i, 10i + 1, 10i + 2; validation the same from 5000 on.
class CountingDataset : public Dataset {
 public:
  int64_t num_samples(Part) const override { return 23; }
  void read(Part part, int64_t position, std::span<int32_t> tokens) const override {
    const int64_t base = (part == Part::kTrain ? 0 : 5000) + 10 * position;
    for (size_t j = 0; j < tokens.size(); ++j)
      tokens[j] = static_cast<int32_t>(base + static_cast<int64_t>(j));
  }
};

DataConfig batch_config(int64_t global_batch_size, int64_t micro_batch_size) {
  DataConfig config;
  config.seq_length = kSeq;
  config.global_batch_size = global_batch_size;
  config.micro_batch_size = micro_batch_size;
  return config;
}

struct Batch {
  explicit Batch(int64_t num_rows)
      : tokens(static_cast<size_t>(num_rows * kSeq), -7), targets(tokens) {}
  std::vector<int32_t> tokens;
  std::vector<int32_t> targets;
};

// The samples of two steps from `cursor` on, over all micro steps and ranks of a layout.
std::vector<int64_t> samples_of_layout(int64_t cursor, int64_t dp_size, int64_t mbs) {
  const CountingDataset dataset;
  std::vector<int64_t> samples;
  for (int64_t step = 0; step < 2; ++step) {
    for (int64_t micro = 0; micro < 12 / (mbs * dp_size); ++micro) {
      for (int64_t rank = 0; rank < dp_size; ++rank) {
        BatchSampler sampler(dataset, batch_config(12, mbs), dp_size, rank, kWhole);
        Batch batch(mbs);
        sampler.train(cursor + 12 * step, micro, batch.tokens, batch.targets);
        for (int64_t row = 0; row < mbs; ++row)
          samples.push_back(batch.tokens[static_cast<size_t>(row * kSeq)] / 10);
      }
    }
  }
  return samples;
}

}  // namespace

TEST_CASE("a rank takes its rows of the micro step, and targets are one place on") {
  const CountingDataset dataset;
  BatchSampler sampler(dataset, batch_config(12, 2), 3, 1, kWhole);
  CHECK(sampler.num_microbatches() == 2);
  Batch batch(2);
  sampler.train(100, 1, batch.tokens, batch.targets);  // rows 8 and 9 of the step
  CHECK(batch.tokens == std::vector<int32_t>{1080, 1081, 1090, 1091});
  CHECK(batch.targets == std::vector<int32_t>{1081, 1082, 1091, 1092});
}

TEST_CASE("columns of a sample are kept in the order given, each with its own target") {
  const CountingDataset dataset;
  DataConfig config = batch_config(12, 2);
  config.seq_length = 8;
  const std::array columns = {Range{1, 3}, Range{6, 8}};
  BatchSampler sampler(dataset, config, 3, 1, columns);
  std::vector<int32_t> tokens(8), targets(8);
  sampler.train(100, 1, tokens, targets);
  CHECK(tokens == std::vector<int32_t>{1081, 1082, 1086, 1087, 1091, 1092, 1096, 1097});
  CHECK(targets == std::vector<int32_t>{1082, 1083, 1087, 1088, 1092, 1093, 1097, 1098});
  sampler.validation(23, 3, tokens, targets);  // rows 20 and 21
  CHECK(tokens == std::vector<int32_t>{5201, 5202, 5206, 5207, 5211, 5212, 5216, 5217});
  sampler.validation(21, 3, tokens, targets);  // row 20 and none
  CHECK(targets == std::vector<int32_t>{5202, 5203, 5207, 5208, -1, -1, -1, -1});
  CHECK_THROWS_AS(BatchSampler(dataset, config, 3, 1, std::array{Range{6, 9}}), InvariantError);
}

TEST_CASE("every layout sees the same samples in the same order") {
  std::vector<int64_t> expected;
  for (int64_t i = 7; i < 7 + 24; ++i) expected.push_back(i);
  for (int64_t dp_size : {1, 2, 3, 4, 6, 12})
    for (int64_t mbs : {1, 2, 3})
      if (12 % (mbs * dp_size) == 0) CHECK(samples_of_layout(7, dp_size, mbs) == expected);
}

TEST_CASE("an evaluation takes whole batches or all there is, each sample once in any layout") {
  const CountingDataset dataset;
  for (const auto& [dp_size, mbs] : {std::pair{1, 1}, {2, 1}, {3, 2}, {4, 3}, {1, 12}}) {
    std::vector<int32_t> tokens;
    std::vector<int32_t> targets;
    for (int64_t micro = 0; micro < ceil_div<int64_t>(23, mbs * dp_size); ++micro) {
      for (int64_t rank = 0; rank < dp_size; ++rank) {
        BatchSampler sampler(dataset, batch_config(12, mbs), dp_size, rank, kWhole);
        CHECK(sampler.num_validation_samples(1) == 12);
        CHECK(sampler.num_validation_samples(2) == 23);
        CHECK(sampler.num_validation_samples(1'000'000'000) == 23);
        Batch batch(mbs);
        sampler.validation(23, micro, batch.tokens, batch.targets);
        tokens.insert(tokens.end(), batch.tokens.begin(), batch.tokens.end());
        targets.insert(targets.end(), batch.targets.begin(), batch.targets.end());
      }
    }
    REQUIRE(tokens.size() == static_cast<size_t>(round_up<int64_t>(23, mbs * dp_size) * kSeq));
    for (size_t i = 0; i < tokens.size(); ++i) {
      const auto value = static_cast<int32_t>(5000 + 10 * (i / kSeq) + i % kSeq);
      CHECK(tokens[i] == (i < 23 * kSeq ? value : 0));
      CHECK(targets[i] == (i < 23 * kSeq ? value + 1 : kNoTarget));
    }
  }
}

TEST_CASE("micro batches, ranks and buffers that do not exist are refused") {
  const CountingDataset dataset;
  const DataConfig config = batch_config(12, 2);
  CHECK_THROWS_AS(BatchSampler(dataset, config, 4, 0, kWhole), InvariantError);
  CHECK_THROWS_AS(BatchSampler(dataset, config, 3, 3, kWhole), InvariantError);
  BatchSampler sampler(dataset, config, 3, 0, kWhole);
  Batch batch(2);
  CHECK_THROWS_AS(sampler.train(0, 2, batch.tokens, batch.targets), InvariantError);
  CHECK_THROWS_AS(sampler.train(0, -1, batch.tokens, batch.targets), InvariantError);
  batch.targets.pop_back();
  CHECK_THROWS_AS(sampler.train(0, 0, batch.tokens, batch.targets), InvariantError);
}
