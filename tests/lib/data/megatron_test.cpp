// Orders are compared with Megatron-Core's own in tests/golden; here are files, limits and
// refusals.
#include "lib/data/megatron.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <functional>

#include "lib/core/error.h"
#include "tests/support/token_files.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr std::array kTrainOnly = {Part::kTrain};
constexpr int64_t kVocab = 50257;

DataConfig megatron_config(std::vector<std::string> paths, int64_t seq_length,
                           int64_t num_samples) {
  DataConfig config;
  config.kind = DataKind::kMegatron;
  config.paths = std::move(paths);
  config.seq_length = seq_length;
  config.num_samples = num_samples;
  config.split = {1, 0, 0};
  return config;
}

std::vector<int32_t> read(const Dataset& dataset, Part part, int64_t position, int64_t seq_length) {
  std::vector<int32_t> tokens(static_cast<size_t>(seq_length + 1), -7);
  dataset.read(part, position, tokens);
  return tokens;
}

// The message of the UserError that opening throws, after checking its exit code.
std::string opening(const DataConfig& config, ExitCode code,
                    std::vector<Part> needed = {Part::kTrain}) {
  try {
    MegatronDataset(config, kVocab, 1, needed);
  } catch (const UserError& e) {
    CHECK(e.code() == code);
    return e.what();
  }
  return "nothing was thrown";
}

}  // namespace

TEST_CASE("a file gives its sequences, documents and tokens, by prefix or by either file") {
  const TempFolder folder;
  MegatronIndex index({3, 0, 2, 1}, 4, 4);
  index.documents = {0, 2, 4};
  index.num_entries = 3;
  const std::string prefix = folder / "x";
  write_file(prefix + ".idx", index.bytes());
  write_file(prefix + ".bin", bytes_of(std::vector<int32_t>{7, 8, 9, 100000, 5, 6}));
  for (const char* suffix : {"", ".idx", ".bin"}) {
    const MegatronFile file(prefix + suffix);
    CHECK(file.prefix() == prefix);
    CHECK(file.num_sequences() == 4);
    CHECK(file.num_documents() == 2);
    CHECK(file.document(1).begin == 2);
    CHECK(file.document(1).end == 4);
    CHECK(file.length(2) == 2);
    CHECK(file.range(2).begin == 3);
    CHECK(file.range(2).end == 5);
    CHECK(file.tokens().type() == TokenType::kI32);
    CHECK(file.tokens().size() == 6);
    CHECK(file.tokens().extent({3, 4}).max == 100000);
  }
}

TEST_CASE("unshuffled samples stand in the file's order and cross documents") {
  const TempFolder folder;
  DataConfig config = megatron_config(
      {write_megatron(folder / "a", counting_documents({0, 3, 1, 0, 4, 2, 0}))}, 3, 5);
  config.shuffle = false;
  const MegatronDataset dataset(config, kVocab, 1, kTrainOnly);
  // Ten tokens a pass; 5 samples need 16 of them, two passes have (20 - 1) / 3 = 6 samples.
  REQUIRE(dataset.num_samples(Part::kTrain) == 6);
  CHECK(read(dataset, Part::kTrain, 0, 3) == std::vector<int32_t>{0, 1, 2, 3});
  CHECK(read(dataset, Part::kTrain, 2, 3) == std::vector<int32_t>{6, 7, 8, 9});
  CHECK(read(dataset, Part::kTrain, 3, 3) == std::vector<int32_t>{9, 0, 1, 2});
  CHECK(read(dataset, Part::kTrain, 5, 3) == std::vector<int32_t>{5, 6, 7, 8});
  // After the last comes the first again.
  CHECK(read(dataset, Part::kTrain, 6, 3) == std::vector<int32_t>{0, 1, 2, 3});
  CHECK(read(dataset, Part::kTrain, 6 * 1000 + 5, 3) == std::vector<int32_t>{5, 6, 7, 8});
  CHECK_THROWS_AS(read(dataset, Part::kTrain, -1, 3), InvariantError);
  CHECK_THROWS_AS(read(dataset, Part::kTrain, 0, 4), InvariantError);
  CHECK_THROWS_AS(read(dataset, Part::kValidation, 0, 3), InvariantError);
}

TEST_CASE("parts are cut by documents, and held-out parts end") {
  const TempFolder folder;
  DataConfig config = megatron_config(
      {write_megatron(folder / "a", counting_documents({4, 4, 4, 4, 4, 4, 4, 4, 4, 4}))}, 3, 8);
  config.split = {6, 3, 1};
  config.shuffle = false;
  const MegatronDataset dataset(config, kVocab, 1,
                                std::array{Part::kTrain, Part::kValidation, Part::kTest});
  CHECK(dataset.num_samples(Part::kTrain) == 15);  // two passes of 24 tokens: the first has 7
  CHECK(dataset.num_samples(Part::kValidation) == 3);
  CHECK(dataset.num_samples(Part::kTest) == 1);
  CHECK(read(dataset, Part::kTrain, 7, 3) == std::vector<int32_t>{21, 22, 23, 0});
  CHECK(read(dataset, Part::kValidation, 2, 3) == std::vector<int32_t>{30, 31, 32, 33});
  CHECK(read(dataset, Part::kTest, 0, 3) == std::vector<int32_t>{36, 37, 38, 39});
  CHECK_THROWS_AS(read(dataset, Part::kValidation, 3, 3), InvariantError);
}

TEST_CASE("the order depends on the seed and num_samples, and each pass holds every sample once") {
  const TempFolder folder;
  DataConfig config = megatron_config(
      {write_megatron(folder / "a", counting_documents(std::vector<int32_t>(50, 5)))}, 5, 49);
  const auto firsts = [&](uint64_t seed) {
    const MegatronDataset dataset(config, kVocab, seed, kTrainOnly);
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < 49; ++i) tokens.push_back(read(dataset, Part::kTrain, i, 5)[0]);
    return tokens;
  };
  std::vector<int32_t> of_1 = firsts(1);
  CHECK(of_1 == firsts(1));
  CHECK(of_1 != firsts(2));
  config.num_samples = 50;
  CHECK(of_1 != firsts(1));
  std::ranges::sort(of_1);
  for (size_t i = 0; i < of_1.size(); ++i) CHECK(of_1[i] % 5 == 0);
  CHECK(std::ranges::adjacent_find(of_1) == of_1.end());
}

TEST_CASE("a weighted blend keeps its weights, and a held-out one ends with its first dataset") {
  const TempFolder folder;
  const std::string a = write_megatron(folder / "a", counting_documents({40, 13}));
  const std::string b = write_megatron(folder / "b", counting_documents({400, 400}, 1000));
  DataConfig config = megatron_config({"1", a, "3", b}, 4, 100);
  config.split = {0.5, 0.5, 0};
  const MegatronDataset dataset(config, kVocab, 1, std::array{Part::kTrain, Part::kValidation});
  CHECK(dataset.num_samples(Part::kTrain) == 100);
  int64_t of_a = 0;
  for (int64_t i = 0; i < 100; ++i) of_a += read(dataset, Part::kTrain, i, 4)[0] < 1000;
  CHECK(of_a == 25);
  // The 3 samples of a's 13 tokens, and until a fourth is due.
  CHECK(dataset.num_samples(Part::kValidation) == 12);
  of_a = 0;
  for (int64_t i = 0; i < 12; ++i) of_a += read(dataset, Part::kValidation, i, 4)[0] < 1000;
  CHECK(of_a == 3);
}

TEST_CASE("a dataset of a weighted blend that has too little begins again") {
  const TempFolder folder;
  // Of 20 samples, 20 * 0.99 are a's and one each of nine others, all rounded up: 29 in all, of
  // which a gives 28. Its one pass has the 21 samples that are ordered of it.
  DataConfig config =
      megatron_config({"891", write_megatron(folder / "a", counting_documents({85}))}, 4, 20);
  for (int i = 0; i < 9; ++i) {
    config.paths.push_back("1");
    config.paths.push_back(write_megatron(folder / std::to_string(i),
                                          counting_documents({9}, static_cast<uint16_t>(1000))));
  }
  config.shuffle = false;
  const MegatronDataset dataset(config, kVocab, 1, kTrainOnly);
  CHECK(dataset.num_samples(Part::kTrain) == 29);
  std::vector<int32_t> of_a;
  for (int64_t i = 0; i < 29; ++i)
    if (const int32_t token = read(dataset, Part::kTrain, i, 4)[0]; token < 1000)
      of_a.push_back(token);
  REQUIRE(of_a.size() == 28);
  CHECK(of_a[20] == 80);
  CHECK(of_a[21] == 0);
}

TEST_CASE("a blend by size takes all of each dataset, also of one that has nothing to give") {
  const TempFolder folder;
  const std::string a = write_megatron(folder / "a", counting_documents({40, 3}));
  const std::string b = write_megatron(folder / "b", counting_documents({400, 400}, 1000));
  DataConfig config = megatron_config({a, b}, 4, 7);
  config.split = {0.5, 0.5, 0};
  const MegatronDataset dataset(config, kVocab, 1, std::array{Part::kTrain, Part::kValidation});
  CHECK(dataset.num_samples(Part::kTrain) == 9 + 99);
  CHECK(dataset.num_samples(Part::kValidation) == 99);
  for (int64_t i = 0; i < 99; ++i) CHECK(read(dataset, Part::kValidation, i, 4)[0] >= 1400);
}

TEST_CASE("a weight of the only dataset changes nothing") {
  const TempFolder folder;
  const std::string a =
      write_megatron(folder / "a", counting_documents(std::vector<int32_t>(9, 9)));
  const MegatronDataset plain(megatron_config({a}, 4, 20), kVocab, 1, kTrainOnly);
  const MegatronDataset weighted(megatron_config({"0.5", a}, 4, 20), kVocab, 1, kTrainOnly);
  CHECK(plain.num_samples(Part::kTrain) == 20);
  for (int64_t i = 0; i < 20; ++i)
    CHECK(read(plain, Part::kTrain, i, 4) == read(weighted, Part::kTrain, i, 4));
}

TEST_CASE("a part without a sample is refused with its numbers") {
  const TempFolder folder;
  const std::string a = write_megatron(folder / "a", counting_documents({4, 4, 4}));
  const std::string b = write_megatron(folder / "b", counting_documents({4, 9, 9, 9}));
  DataConfig config = megatron_config({a}, 4, 1);
  const std::string of_a = a +
                           ": the validation part has 0 tokens in 0 of 3 documents, "
                           "data.seq_length 4 needs 5; give more data, a larger share in "
                           "data.split or a shorter data.seq_length";
  CHECK(opening(config, ExitCode::kData, {Part::kTrain, Part::kValidation}) ==
        "[data.paths] " + of_a);
  config.split = {2, 1, 0};
  CHECK(opening(config, ExitCode::kData, {Part::kValidation})
            .starts_with("[data.paths] " + a + ": the validation part has 4 tokens in 1 of 3 "));
  // Training takes as many passes as it needs, from two tokens on.
  config.paths = {"1", b, "1", a};
  config.split = {1, 3, 0};
  CHECK(opening(config, ExitCode::kData, {Part::kTrain, Part::kValidation}) ==
        "nothing was thrown");
  config.seq_length = 10;
  CHECK(opening(config, ExitCode::kData, {Part::kTrain, Part::kValidation})
            .starts_with("[data.paths] " + a + ": the validation part has 8 tokens in 2 of 3 "));
}

TEST_CASE("settings that no file could satisfy are wrong usage") {
  const TempFolder folder;
  const std::string a = write_megatron(folder / "a", counting_documents({40, 40}));
  CHECK(
      opening(megatron_config({}, 4, 1), ExitCode::kUsage).starts_with("[data.paths] 0 prefixes"));
  CHECK(opening(megatron_config({"1", a, a}, 4, 1), ExitCode::kUsage)
            .starts_with("[data.paths] '" + a + "' stands where a weight belongs"));
  CHECK(opening(megatron_config({a}, 4, int64_t{1} << 40), ExitCode::kUsage) ==
        "[data.num_samples] 1099511627776: data.kind megatron orders 4294967296 samples at most; "
        "give as many as the run will read");
  // 2^32 passes over 2^13 documents would be a row of 128 TB.
  const std::string many =
      write_megatron(folder / "b", counting_documents(std::vector<int32_t>(8192, 1)));
  const std::string error =
      opening(megatron_config({many}, 8192, int64_t{1} << 32), ExitCode::kUsage);
  CHECK(error.starts_with("[data.num_samples] 4294967296: the order of so many samples of " + many +
                          " takes 14"));
  CHECK(error.ends_with("; give as many as the run will read"));
  DataConfig config = megatron_config({a}, 4, 1);
  config.split = {0, 0, 0};
  CHECK(opening(config, ExitCode::kUsage).starts_with("[data.split] the shares sum to 0"));
}

TEST_CASE("an id outside the vocabulary is refused at the start or, later in a file, when read") {
  const TempFolder folder;
  std::vector<std::vector<uint16_t>> documents(2, std::vector<uint16_t>(150000, 5));
  documents[1][149990] = 60000;
  DataConfig config = megatron_config({write_megatron(folder / "a", documents)}, 1000, 299);
  config.shuffle = false;
  const MegatronDataset dataset(config, kVocab, 1, kTrainOnly);
  CHECK(read(dataset, Part::kTrain, 298, 1000)[0] == 5);
  config.num_samples = 599;
  CHECK_THROWS_WITH_AS(
      read(MegatronDataset(config, kVocab, 1, kTrainOnly), Part::kTrain, 299, 1000),
      doctest::Contains("a.bin: token 299990 is 60000, a vocabulary of 50257 has"), UserError);
  documents[0][3] = 60000;
  write_megatron(folder / "a", documents);
  CHECK(opening(config, ExitCode::kData)
            .starts_with("[data.paths] " + (folder / "a").string() + ".bin: token 3 is 60000"));
}
