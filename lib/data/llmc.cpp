#include "lib/data/llmc.h"

#include <cstring>

#include "lib/core/counted.h"
#include "lib/core/error.h"

namespace nemo {
namespace {

constexpr int32_t kGpt2 = 20240520;
constexpr int32_t kLlama3 = 20240801;
constexpr int32_t kNanogpt = 278895051;

int32_t header_entry(std::span<const uint8_t> bytes, size_t index) {
  int32_t entry = 0;
  std::memcpy(&entry, bytes.data() + index * sizeof entry, sizeof entry);
  return entry;
}

TokenType token_type(const std::string& path, std::span<const uint8_t> header) {
  const int32_t magic = header_entry(header, 0);
  const int32_t version = header_entry(header, 1);
  const int32_t expected_version = magic == kLlama3 ? 7 : 1;
  if (version != expected_version)
    throw_data("[data.paths] {}: it is of version {}, {} is read after {}; convert it again", path,
               version, expected_version, magic);
  if (magic == kGpt2) return TokenType::kU16;
  if (magic == kLlama3) return TokenType::kU32;
  const int32_t width = header_entry(header, 3);
  if (width != 2 && width != 4)
    throw_data(
        "[data.paths] {}: the width of its tokens is {}, 2 and 4 bytes are read; convert it again",
        path, width);
  return width == 2 ? TokenType::kU16 : TokenType::kU32;
}

std::vector<TokenFile> open_shards(const std::vector<std::string>& paths) {
  std::vector<TokenFile> shards;
  for (const std::string& path : paths) shards.push_back(open_llmc_shard(path));
  return shards;
}

}  // namespace

bool is_llmc_shard(std::span<const uint8_t> bytes) {
  if (bytes.size() < sizeof(int32_t)) return false;
  const int32_t magic = header_entry(bytes, 0);
  return magic == kGpt2 || magic == kLlama3 || magic == kNanogpt;
}

TokenFile open_llmc_shard(const std::string& path) {
  MappedFile file(path, "data.paths");
  const std::span<const uint8_t> bytes = file.bytes();
  if (file.size() < kLlmcHeaderBytes)
    throw_data("[data.paths] {}: it has {}, a shard begins with a header of {}; copy it again",
               path, counted(file.size(), "byte"), kLlmcHeaderBytes);
  if (!is_llmc_shard(bytes))
    throw_data(
        "[data.paths] {}: its first integer is {}, a shard begins with {}, {} or {}; convert it "
        "again",
        path, header_entry(bytes, 0), kGpt2, kLlama3, kNanogpt);
  const TokenType type = token_type(path, bytes);
  const int64_t count = header_entry(bytes, 2);
  const int64_t expected = kLlmcHeaderBytes + count * size_of(type);
  if (file.size() != expected)
    throw_data(
        "[data.paths] {}: it has {}, the count of {} {} tokens in its header makes it {}; copy it "
        "again",
        path, counted(file.size(), "byte"), count, to_string(type), expected);
  TokenArray tokens(path, type, bytes.subspan(kLlmcHeaderBytes));
  return {std::move(file), std::move(tokens)};
}

LlmcDataset::LlmcDataset(const DataConfig& config, int64_t vocab_size, uint64_t seed,
                         std::span<const Part> needed)
    : TokenStream(config, vocab_size, seed, open_shards(config.paths), needed) {}

}  // namespace nemo
