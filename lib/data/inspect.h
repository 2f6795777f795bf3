// What a dataset on disk is and holds, for `nemo-cpp data`.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "lib/recipe/choice.h"

namespace nemo {

// Called now and then with the tokens looked at and those there are.
using ScanProgress = std::function<void(int64_t done, int64_t total)>;

// Kind text, megatron or llmc of a path: a Megatron prefix or one of its two files, an llm.c shard
// by its first bytes or by the name .bin, else text. Throws UserError kData where there is no such
// file.
DataKind detect_data_kind(const std::string& path);

// A YAML map of one key, the path: kind, files, counts, token type, the smallest and largest id
// among the first 2^27 tokens, lengths and first tokens of documents. Throws what opening the data
// for training throws.
std::string inspect_data(const std::string& path, std::optional<DataKind> kind,
                         const ScanProgress& progress);

// Checks all of it: what opening checks, and every token's id against the vocabulary (0 or more and
// below 2^31 where none is given). Returns one line that says what was checked; throws UserError
// kData naming the first thing found wrong.
std::string verify_data(const std::string& path, std::optional<DataKind> kind,
                        std::optional<int64_t> vocab_size, const ScanProgress& progress);

}  // namespace nemo
