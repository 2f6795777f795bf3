#include "lib/data/inspect.h"

#include <doctest/doctest.h>
#include <sys/stat.h>

#include "lib/core/error.h"
#include "tests/support/token_files.h"

using namespace nemo;
using namespace nemo::test;

namespace {

const ScanProgress kSilent = [](int64_t, int64_t) {};

}  // namespace

TEST_CASE("a kind is told by names, then by first bytes") {
  const TempFolder folder;
  const std::string pair = write_megatron(folder / "pair", {{1, 2}});
  CHECK(detect_data_kind(pair) == DataKind::kMegatron);
  CHECK(detect_data_kind(pair + ".idx") == DataKind::kMegatron);
  CHECK(detect_data_kind(pair + ".bin") == DataKind::kMegatron);
  const std::string tokens = shard<uint16_t>({20240520, 1, 1}, {7});
  CHECK(detect_data_kind(write_file(folder / "shard.bin", tokens)) == DataKind::kLlmc);
  CHECK(detect_data_kind(write_file(folder / "shard.tokens", tokens)) == DataKind::kLlmc);
  CHECK(detect_data_kind(write_file(folder / "damaged.bin", "?")) == DataKind::kLlmc);
  CHECK(detect_data_kind(write_file(folder / "a.txt", "MMI")) == DataKind::kText);
  const std::string missing = folder / "missing";
  CHECK_THROWS_WITH_AS(detect_data_kind(missing),
                       ("[data.paths] " + missing + ": there is no such file, and no " + missing +
                        ".idx; give a file or a prefix")
                           .c_str(),
                       UserError);
  const std::string pipe = folder / "pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);  // to open it would wait for a writer
  CHECK_THROWS_WITH_AS(
      detect_data_kind(pipe),
      ("[data.paths] " + pipe + ": it is not a regular file; copy its content into one").c_str(),
      UserError);
}

TEST_CASE("inspecting shows kind, files, counts, ids and first documents") {
  const TempFolder folder;
  std::vector<std::vector<uint16_t>> documents = counting_documents({2, 0, 20, 1}, 30);
  const std::string x = write_megatron(folder / "x", documents);
  CHECK(inspect_data(x, {}, kSilent) ==
        "\"" + x +
            "\":\n"
            "  kind: megatron\n"
            "  files:\n"
            "    - {path: \"" +
            x +
            ".idx\", bytes: 122}\n"
            "    - {path: \"" +
            x +
            ".bin\", bytes: 46}\n"
            "  token_type: uint16\n"
            "  num_tokens: 23\n"
            "  token_ids: {min: 30, max: 52, of_first: 23}\n"
            "  num_sequences: 4\n"
            "  num_documents: 4\n"
            "  sequence_length: {min: 0, mean: 5.8, max: 20}\n"
            "  first_documents:\n"
            "    - {num_tokens: 2, tokens: [30, 31]}\n"
            "    - {num_tokens: 0, tokens: []}\n"
            "    - {num_tokens: 20, tokens: [32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, "
            "45, 46, 47, \"...\"]}\n");
  const std::string text = write_file(folder / "t", "ab\n");
  CHECK(inspect_data(text, {}, kSilent) == "\"" + text +
                                               "\":\n"
                                               "  kind: text\n"
                                               "  files:\n"
                                               "    - {path: \"" +
                                               text +
                                               "\", bytes: 3}\n"
                                               "  token_type: uint8\n"
                                               "  num_tokens: 3\n"
                                               "  token_ids: {min: 10, max: 98, of_first: 3}\n"
                                               "  first_tokens: [97, 98, 10]\n");
  const std::string empty = write_megatron(folder / "empty", {});
  CHECK(inspect_data(empty, {}, kSilent).ends_with("num_sequences: 0\n  num_documents: 0\n"));
}

TEST_CASE("verifying says what was checked, and looks at every token") {
  const TempFolder folder;
  const std::string x = write_megatron(folder / "x", counting_documents({2, 3}));
  CHECK(verify_data(x, {}, 5, kSilent) ==
        x + ": megatron, 2 documents, 5 uint16 tokens, ids below 5: sound");
  CHECK_THROWS_WITH_AS(verify_data(x, {}, 4, kSilent), doctest::Contains("x.bin: token 4 is 4, a"),
                       UserError);
  // The last of more than one chunk.
  const int64_t count = (int64_t{1} << 24) + 5;
  std::vector<uint16_t> tokens(static_cast<size_t>(count), 7);
  const std::string big =
      write_file(folder / "big", shard({20240520, 1, static_cast<int32_t>(count)}, tokens));
  std::vector<int64_t> seen;
  CHECK(verify_data(big, {}, {}, [&](int64_t done, int64_t total) {
          CHECK(total == count);
          seen.push_back(done);
        }) == big + ": llmc, 16777221 uint16 tokens: sound");
  CHECK(seen == std::vector<int64_t>{1 << 24, count});
  tokens.back() = 8;
  write_file(big, shard({20240520, 1, static_cast<int32_t>(count)}, tokens));
  CHECK_THROWS_WITH_AS(verify_data(big, {}, 8, kSilent),
                       doctest::Contains("big: token 16777220 is 8, a vocabulary of 8"), UserError);
}

TEST_CASE("a given kind is believed") {
  const TempFolder folder;
  const std::string text = write_file(folder / "x.bin", "some text");
  CHECK(verify_data(text, DataKind::kText, {}, kSilent) == text + ": text, 9 uint8 tokens: sound");
  CHECK_THROWS_WITH_AS(verify_data(text, {}, {}, kSilent),
                       doctest::Contains("x.bin: it has 9 bytes, a shard begins with a header of"),
                       UserError);
  CHECK_THROWS_WITH_AS(verify_data(text, DataKind::kMegatron, {}, kSilent),
                       doctest::Contains("x.idx: cannot open it: "), UserError);
}
