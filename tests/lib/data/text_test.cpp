#include "lib/data/text.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <functional>
#include <string>

#include "lib/core/error.h"
#include "tests/lib/data/text_config.h"
#include "tests/support/files.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr std::array kTrainOnly = {Part::kTrain};
constexpr std::array kTrainAndValidation = {Part::kTrain, Part::kValidation};

std::vector<int32_t> read(const Dataset& dataset, Part part, int64_t position, int64_t seq_length) {
  std::vector<int32_t> tokens(static_cast<size_t>(seq_length + 1), -7);
  dataset.read(part, position, tokens);
  return tokens;
}

// The message of the UserError that opening throws, after checking its exit code.
std::string message(ExitCode code, const std::function<void()>& open) {
  try {
    open();
  } catch (const UserError& e) {
    CHECK(e.code() == code);
    return e.what();
  }
  return "nothing was thrown";
}

std::string opening(const DataConfig& config, int64_t vocab_size, ExitCode code = ExitCode::kData) {
  return message(code, [&] { TextDataset(config, vocab_size, 1, kTrainAndValidation); });
}

bool has(const std::string& text, std::string_view part) {
  const bool found = text.find(part) != std::string::npos;
  CHECK_MESSAGE(found, text, " lacks ", part);
  return found;
}

}  // namespace

TEST_CASE("samples are bytes and end-of-document tokens, with the parts of all files joined") {
  const TempFolder folder;
  // With the end token 10 tokens and 5: training takes 8 and 4, validation 1 and 0 (half to even:
  // 4.5 cuts at 4), test the rest.
  DataConfig config =
      text_config({write_file(folder / "a", "abcdefghi"), write_file(folder / "b", "vwxy")}, 2);
  config.split = {8, 1, 1};
  const TextDataset dataset(config, 257, 1, kTrainOnly);
  CHECK(dataset.num_tokens(Part::kTrain) == 12);
  CHECK(dataset.num_tokens(Part::kValidation) == 1);
  CHECK(dataset.num_tokens(Part::kTest) == 2);
  CHECK(dataset.num_samples(Part::kTrain) == 5);
  CHECK(dataset.num_samples(Part::kValidation) == 0);
  CHECK(read(dataset, Part::kTrain, 0, 2) == std::vector<int32_t>{'a', 'b', 'c'});
  CHECK(read(dataset, Part::kTrain, 1, 2) == std::vector<int32_t>{'c', 'd', 'e'});
  CHECK(read(dataset, Part::kTrain, 3, 2) == std::vector<int32_t>{'g', 'h', 'v'});
  CHECK(read(dataset, Part::kTrain, 4, 2) == std::vector<int32_t>{'v', 'w', 'x'});
  CHECK(read(dataset, Part::kTrain, 5, 2) == std::vector<int32_t>{'a', 'b', 'c'});
}

TEST_CASE("the end-of-document token closes every file, and only where the vocabulary has it") {
  const TempFolder folder;
  DataConfig config =
      text_config({write_file(folder / "a", "ab"), write_file(folder / "b", "\xff")}, 4);
  config.split = {1, 0, 0};
  CHECK(read(TextDataset(config, 257, 1, kTrainOnly), Part::kTrain, 0, 4) ==
        std::vector<int32_t>{'a', 'b', kEndOfDocument, 255, kEndOfDocument});
  CHECK(TextDataset(config, 128256, 1, kTrainOnly).num_tokens(Part::kTrain) == 5);
  config.seq_length = 2;
  const TextDataset without(config, 256, 1, kTrainOnly);
  CHECK(without.num_tokens(Part::kTrain) == 3);
  CHECK(read(without, Part::kTrain, 0, 2) == std::vector<int32_t>{'a', 'b', 255});
}

TEST_CASE("shares are relative, cumulated, and cut half to even") {
  const TempFolder folder;
  DataConfig config = text_config({write_file(folder / "a", std::string(1000, 'x'))}, 1);
  const auto sizes = [&](std::array<double, 3> split) {
    config.split = split;
    const TextDataset d(config, 256, 1, kTrainOnly);
    return std::array{d.num_tokens(Part::kTrain), d.num_tokens(Part::kValidation),
                      d.num_tokens(Part::kTest)};
  };
  CHECK(sizes({0.9, 0.1, 0}) == std::array<int64_t, 3>{900, 100, 0});
  CHECK(sizes({969, 30, 1}) == std::array<int64_t, 3>{969, 30, 1});
  CHECK(sizes({1, 1, 14}) == std::array<int64_t, 3>{62, 63, 875});  // 62.5 and 125
  CHECK(sizes({3, 13, 0}) == std::array<int64_t, 3>{188, 812, 0});  // 187.5
}

TEST_CASE("training is shuffled by seed and pass, validation never") {
  const TempFolder folder;
  std::string content;
  for (int i = 0; i < 250; ++i) content.push_back(static_cast<char>(i));
  DataConfig config = text_config({write_file(folder / "a", content)}, 2);
  config.shuffle = true;
  const TextDataset dataset(config, 256, 1234, kTrainAndValidation);
  const EpochOrder order(112, true, 1234);
  REQUIRE(dataset.num_samples(Part::kTrain) == 112);
  for (int64_t position : {0, 5, 111, 112, 300})
    CHECK(read(dataset, Part::kTrain, position, 2)[0] == 2 * order(position));
  CHECK(read(dataset, Part::kValidation, 0, 2) == std::vector<int32_t>{225, 226, 227});
  CHECK(read(dataset, Part::kValidation, 11, 2) == std::vector<int32_t>{247, 248, 249});
  CHECK_THROWS_AS(read(dataset, Part::kValidation, 12, 2), InvariantError);
  CHECK_THROWS_AS(read(dataset, Part::kTrain, -1, 2), InvariantError);
  CHECK_THROWS_AS(read(dataset, Part::kTrain, 0, 3), InvariantError);
}

TEST_CASE("files that cannot serve are named with what to do") {
  const TempFolder folder;
  const std::string good = write_file(folder / "good", std::string(100, 'x'));
  const auto with = [&](const std::string& path) { return text_config({good, path}, 4); };
  const std::string missing = folder / "missing";
  CHECK(has(opening(with(missing), 257), missing + ": cannot open it: No such file"));
  const std::string empty = write_file(folder / "empty", "");
  CHECK(has(opening(with(empty), 257), empty + ": it is empty, 0 bytes of at least 1"));
  CHECK(has(opening(with(folder.path()), 257), "it is a folder"));
  const std::string pipe = folder / "pipe";
  REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(has(opening(with(pipe), 257), pipe + ": it is not a regular file"));
  CHECK(has(opening(with(good + "/x"), 257), "Not a directory"));
  const std::string high = write_file(folder / "high", "abc\x80");
  const std::string error = opening(with(high), 128);
  CHECK(has(error, high + ": token 3 is 128, a vocabulary of 128 has ids 0 to 127"));
}

TEST_CASE("a needed part without a sample is refused with both numbers") {
  const TempFolder folder;
  const DataConfig config = text_config({write_file(folder / "a", std::string(40, 'x'))}, 4);
  const std::string error = opening(config, 256);
  CHECK(has(error, "a: the validation part has 4 tokens, data.seq_length 4 needs 5"));
  CHECK(TextDataset(config, 256, 1, kTrainOnly).num_samples(Part::kValidation) == 0);
  DataConfig no_train = config;
  no_train.split = {0, 1, 0};
  CHECK(has(opening(no_train, 256), "the training part has 0 tokens"));
  CHECK(TextDataset(text_config({write_file(folder / "b", std::string(41, 'x'))}, 3), 256, 1,
                    kTrainAndValidation)
            .num_samples(Part::kValidation) == 1);
}

TEST_CASE("settings that no file could satisfy are wrong usage") {
  const TempFolder folder;
  const std::string good = write_file(folder / "good", std::string(100, 'x'));
  DataConfig config = text_config({}, 4);
  CHECK(has(opening(config, 257, ExitCode::kUsage), "[data.paths] 0 files"));
  config = text_config({good}, 4);
  config.split = {0, 0, 0};
  CHECK(has(opening(config, 257, ExitCode::kUsage), "[data.split] the shares sum to 0"));
  config = text_config({good}, 4);
  config.tokenizer = "a.json";
  CHECK(has(opening(config, 257, ExitCode::kUsage), "[data.tokenizer] a.json cannot be read"));
  config = text_config({good}, 4);
  config.kind = DataKind::kJsonl;
  CHECK(has(message(ExitCode::kUsage, [&] { open_dataset(config, 257, 1, kTrainOnly); }),
            "[data.kind] jsonl cannot be read"));
}
