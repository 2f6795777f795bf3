// Data files for tests, written byte by byte: Megatron's pairs and llm.c's shards.
#pragma once

#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "tests/support/files.h"

namespace nemo::test {

template <typename T>
void append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

// What a .idx says; every field can be made wrong before it is written.
struct MegatronIndex {
  std::string magic{"MMIDIDX\0\0", 9};
  uint64_t version = 1;
  uint8_t type = 8;
  uint64_t num_sequences = 0;
  uint64_t num_entries = 1;
  std::vector<int32_t> lengths;
  std::vector<int64_t> offsets;
  std::vector<int64_t> documents = {0};

  // One document for each length; `type` is the code of tokens of `width` bytes.
  MegatronIndex(const std::vector<int32_t>& of, uint8_t type_, int64_t width) : type(type_) {
    for (const int32_t length : of) {
      offsets.push_back(lengths.empty() ? 0 : offsets.back() + lengths.back() * width);
      lengths.push_back(length);
      documents.push_back(std::ssize(lengths));
    }
    num_sequences = lengths.size();
    num_entries = documents.size();
  }

  std::string bytes() const {
    std::string bytes = magic;
    append(bytes, version);
    append(bytes, type);
    append(bytes, num_sequences);
    append(bytes, num_entries);
    return bytes + bytes_of(lengths) + bytes_of(offsets) + bytes_of(documents);
  }
};

// Writes prefix.idx and prefix.bin of uint16 tokens; returns the prefix.
inline std::string write_megatron(const std::filesystem::path& prefix,
                                  const std::vector<std::vector<uint16_t>>& documents) {
  std::vector<int32_t> lengths;
  std::string tokens;
  for (const auto& document : documents) {
    lengths.push_back(static_cast<int32_t>(document.size()));
    tokens += bytes_of(document);
  }
  write_file(prefix.string() + ".idx", MegatronIndex(lengths, 8, 2).bytes());
  write_file(prefix.string() + ".bin", tokens);
  return prefix;
}

// Documents of these lengths; their tokens count up from `first`.
inline std::vector<std::vector<uint16_t>> counting_documents(const std::vector<int32_t>& lengths,
                                                             uint16_t first = 0) {
  std::vector<std::vector<uint16_t>> documents;
  for (const int32_t length : lengths) {
    auto& document = documents.emplace_back(static_cast<size_t>(length));
    std::iota(document.begin(), document.end(), first);
    first = static_cast<uint16_t>(first + length);
  }
  return documents;
}

// The bytes of a shard whose header begins with these integers.
template <typename T>
std::string shard(std::vector<int32_t> header, const std::vector<T>& tokens) {
  header.resize(256);
  return bytes_of(header) + bytes_of(tokens);
}

}  // namespace nemo::test
