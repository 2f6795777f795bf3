#include "lib/data/megatron_file.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "lib/core/counted.h"
#include "lib/core/error.h"

namespace nemo {
namespace {

constexpr std::string_view kMagic("MMIDIDX\0\0", 9);
constexpr int64_t kHeaderBytes = 34;

std::string prefix_of(const std::string& path) {
  const bool is_one_of_the_files = path.ends_with(".idx") || path.ends_with(".bin");
  if (!is_one_of_the_files || std::filesystem::exists(MegatronFile::index_path(path))) return path;
  return path.substr(0, path.size() - 4);
}

std::optional<TokenType> token_type(uint8_t code) {
  switch (code) {
    case 1:
      return TokenType::kU8;
    case 2:
      return TokenType::kI8;
    case 3:
      return TokenType::kI16;
    case 4:
      return TokenType::kI32;
    case 5:
      return TokenType::kI64;
    case 8:
      return TokenType::kU16;
    default:  // 6 and 7 are float64 and float32
      return std::nullopt;
  }
}

}  // namespace

bool MegatronFile::is_index(std::span<const uint8_t> bytes) {
  return bytes.size() >= kMagic.size() &&
         std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) == 0;
}

MegatronFile::MegatronFile(const std::string& path)
    : prefix_(prefix_of(path)),
      index_(index_path(prefix_), "data.paths"),
      token_file_(token_path(prefix_), "data.paths") {
  const TokenType type = read_header();
  const int64_t num_bytes = check_sequences(size_of(type));
  check_documents();
  if (token_file_.size() != num_bytes)
    throw_data(
        "[data.paths] {}: it has {}, the sequences of {} take {}; copy both files of one dataset "
        "again",
        token_path(prefix_), counted(token_file_.size(), "byte"), index_path(prefix_), num_bytes);
  tokens_ = TokenArray(token_path(prefix_), type, token_file_.bytes());
}

TokenType MegatronFile::read_header() {
  const std::string path = index_path(prefix_);
  const std::span<const uint8_t> bytes = index_.bytes();
  if (index_.size() < kHeaderBytes)
    throw_data("[data.paths] {}: it has {}, an index has {} or more; copy it again", path,
               counted(index_.size(), "byte"), kHeaderBytes);
  if (!is_index(bytes))
    throw_data(
        "[data.paths] {}: its first bytes are {:02x}, an index starts with {:02x} (MMIDIDX); give "
        "the prefix of a Megatron dataset",
        path, fmt::join(bytes.first(kMagic.size()), " "), fmt::join(kMagic, " "));
  const auto version = load<uint64_t>(bytes.data() + 9, 0);
  if (version != 1)
    throw_data("[data.paths] {}: it is of version {}, 1 is read; convert it again", path, version);
  const std::optional<TokenType> type = token_type(bytes[17]);
  if (!type)
    throw_data(
        "[data.paths] {}: its token type is {}, of 1 to 5 and 8 each is an integer; tokenize again",
        path, bytes[17]);
  const auto num_sequences = load<uint64_t>(bytes.data() + 18, 0);
  const auto num_entries = load<uint64_t>(bytes.data() + 26, 0);
  const auto wide = [](uint64_t count) { return static_cast<unsigned __int128>(count); };
  const auto expected = kHeaderBytes + 12 * wide(num_sequences) + 8 * wide(num_entries);
  if (num_entries == 0)
    throw_data(
        "[data.paths] {}: its document index has 0 entries, 1 or more are expected; convert it "
        "again",
        path);
  if (static_cast<unsigned __int128>(index_.size()) != expected)
    throw_data(
        "[data.paths] {}: it has {}, its header's counts (sequences {}, document index {}) make it "
        "{}; copy it again",
        path, counted(index_.size(), "byte"), num_sequences, num_entries, expected);
  num_sequences_ = static_cast<int64_t>(num_sequences);
  num_documents_ = static_cast<int64_t>(num_entries) - 1;
  lengths_ = bytes.data() + kHeaderBytes;
  offsets_ = lengths_ + 4 * num_sequences_;
  documents_ = offsets_ + 8 * num_sequences_;
  return *type;
}

int64_t MegatronFile::check_sequences(int64_t token_bytes) const {
  int64_t end = 0;
  for (int64_t i = 0; i < num_sequences_; ++i) {
    const int32_t length = load<int32_t>(lengths_, i);
    const auto offset = load<int64_t>(offsets_, i);
    if (length < 0)
      throw_data("[data.paths] {}: sequence {} has {}, 0 or more are possible; convert it again",
                 index_path(prefix_), i, counted(length, "token"));
    if (offset != end)
      throw_data(
          "[data.paths] {}: sequence {} begins at byte {}, the one before it ends at {}; "
          "convert it again",
          index_path(prefix_), i, offset, end);
    end += length * token_bytes;
  }
  return end;
}

void MegatronFile::check_documents() const {
  const auto refuse = [&](int64_t entry, int64_t found, std::string_view expected, int64_t bound) {
    throw_data(
        "[data.paths] {}: entry {} of its document index is {}, {} {} is expected; convert "
        "it again",
        index_path(prefix_), entry, found, expected, bound);
  };
  int64_t previous = 0;
  for (int64_t i = 0; i <= num_documents_; ++i) {
    const auto entry = load<int64_t>(documents_, i);
    if (i == 0 && entry != 0) refuse(i, entry, "exactly", 0);
    if (entry < previous) refuse(i, entry, "at least", previous);
    previous = entry;
  }
  if (previous != num_sequences_) refuse(num_documents_, previous, "exactly", num_sequences_);
}

}  // namespace nemo
