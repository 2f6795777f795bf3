#include "lib/data/llmc.h"

#include <doctest/doctest.h>

#include <array>

#include "tests/lib/data/text_config.h"
#include "tests/support/token_files.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr std::array kTrainOnly = {Part::kTrain};

std::vector<int32_t> read(const Dataset& dataset, Part part, int64_t position, size_t seq_length) {
  std::vector<int32_t> tokens(seq_length + 1, -7);
  dataset.read(part, position, tokens);
  return tokens;
}

DataConfig llmc_config(std::vector<std::string> paths, int64_t seq_length) {
  DataConfig config = text_config(std::move(paths), seq_length);
  config.kind = DataKind::kLlmc;
  config.split = {1, 0, 0};
  return config;
}

}  // namespace

TEST_CASE("all headers are read, and shards are joined in order") {
  const TempFolder folder;
  const DataConfig config = llmc_config(
      {write_file(folder / "gpt2.bin", shard<uint16_t>({20240520, 1, 3}, {1, 65535, 3})),
       write_file(folder / "llama3.bin", shard<uint32_t>({20240801, 7, 2}, {128000, 5})),
       write_file(folder / "nano2.bin", shard<uint16_t>({278895051, 1, 2, 2}, {6, 7})),
       write_file(folder / "nano4.bin", shard<uint32_t>({278895051, 1, 2, 4}, {70000, 9}))},
      4);
  const LlmcDataset dataset(config, 128256, 1, kTrainOnly);
  CHECK(dataset.num_tokens(Part::kTrain) == 9);
  CHECK(dataset.num_samples(Part::kTrain) == 2);
  CHECK(read(dataset, Part::kTrain, 0, 4) == std::vector<int32_t>{1, 65535, 3, 128000, 5});
  CHECK(read(dataset, Part::kTrain, 1, 4) == std::vector<int32_t>{5, 6, 7, 70000, 9});
}

TEST_CASE("each shard gives every part its share, and training is shuffled by seed and pass") {
  const TempFolder folder;
  std::vector<uint16_t> tokens(100);
  for (uint16_t i = 0; i < 100; ++i) tokens[i] = i;
  DataConfig config = llmc_config({write_file(folder / "a", shard({20240520, 1, 100}, tokens)),
                                   write_file(folder / "b", shard({20240520, 1, 100}, tokens))},
                                  3);
  config.split = {0.9, 0.1, 0};
  config.shuffle = true;
  const LlmcDataset dataset(config, 100, 7, std::array{Part::kTrain, Part::kValidation});
  REQUIRE(dataset.num_samples(Part::kTrain) == 59);
  CHECK(dataset.num_samples(Part::kValidation) == 6);
  CHECK(read(dataset, Part::kValidation, 3, 3) == std::vector<int32_t>{99, 90, 91, 92});
  const EpochOrder order(59, true, 7);
  for (int64_t position : {0, 58, 59, 200})
    CHECK(read(dataset, Part::kTrain, position, 3)[0] == order(position) * 3 % 90);
}

TEST_CASE("a later id outside the vocabulary is refused when it is read") {
  const TempFolder folder;
  std::vector<uint16_t> tokens(300000, 5);
  tokens[299990] = 60000;
  const DataConfig config =
      llmc_config({write_file(folder / "a", shard({20240520, 1, 300000}, tokens))}, 29999);
  const LlmcDataset dataset(config, 50257, 1, kTrainOnly);
  CHECK(read(dataset, Part::kTrain, 0, 29999)[0] == 5);
  CHECK_THROWS_WITH_AS(read(dataset, Part::kTrain, 9, 29999),
                       doctest::Contains("a: token 299990 is 60000, a vocabulary of 50257 has"),
                       UserError);
  tokens[10] = 60000;
  write_file(folder / "a", shard({20240520, 1, 300000}, tokens));
  CHECK_THROWS_WITH_AS(LlmcDataset(config, 50257, 1, kTrainOnly),
                       doctest::Contains("a: token 10 is 60000"), UserError);
}
