// Data files that are damaged, cut short or something else, each in one way.
#pragma once

#include <fmt/format.h>

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "lib/core/philox.h"
#include "lib/recipe/choice.h"
#include "tests/support/token_files.h"

namespace nemo::test {

inline constexpr int64_t kDamagedVocab = 1000;  // no sound id is as high

struct DamagedData {
  std::string what;
  DataKind kind;
  std::string path;  // as data.paths has it
};

class DamagedFiles {
 public:
  explicit DamagedFiles(const std::filesystem::path& folder) : folder_(folder) {
    damage_megatron(8, std::vector<uint16_t>{});
    damage_megatron(4, std::vector<int32_t>{});
    damage_megatron(5, std::vector<int64_t>{});
    damage_shards<uint16_t>({20240520, 1, kNumTokens, 0});
    damage_shards<uint32_t>({20240801, 7, kNumTokens, 0});
    damage_shards<uint32_t>({278895051, 1, kNumTokens, 4});
  }

  const std::vector<DamagedData>& all() const { return all_; }

 private:
  static constexpr int kNumTokens = 60;
  static constexpr uint64_t kWrongCounts[] = {0,
                                              5,
                                              7,
                                              8,
                                              uint64_t{1} << 31,
                                              uint64_t{1} << 32,
                                              (uint64_t{1} << 61) + 6,
                                              (uint64_t{1} << 62) + 6,
                                              uint64_t{1} << 63,
                                              ~uint64_t{0}};

  template <typename T>
  static std::vector<T> sound_tokens() {
    std::vector<T> tokens(kNumTokens);
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<T>(17 * i % 1000);
    return tokens;
  }

  std::string new_path() const { return folder_ / fmt::format("{:03}", all_.size()); }

  void add_pair(const std::string& what, const std::string& index, const std::string& tokens) {
    const std::string path = new_path();
    write_file(path + ".idx", index);
    write_file(path + ".bin", tokens);
    all_.push_back({what, DataKind::kMegatron, path});
  }

  void add_shard(const std::string& what, const std::string& bytes) {
    all_.push_back({what, DataKind::kLlmc, write_file(new_path(), bytes)});
  }

  // A length below that of the file, other for each count.
  size_t cut_length(size_t size, uint64_t count) const { return philox(size, count)[0] % size; }

  template <typename T>
  void damage_megatron(uint8_t type, const std::vector<T>&) {
    const MegatronIndex sound({10, 20, 0, 5, 24, 1}, type, sizeof(T));
    const std::vector<T> tokens = sound_tokens<T>();
    const std::string index = sound.bytes(), bytes = bytes_of(tokens);
    const auto spoil = [&](const std::string& what,
                           const std::function<void(MegatronIndex&)>& damage) {
      MegatronIndex wrong = sound;
      damage(wrong);
      add_pair(what, wrong.bytes(), bytes);
    };
    for (uint64_t i = 0; i < 12; ++i) {
      add_pair("index cut", index.substr(0, cut_length(index.size(), i)), bytes);
      if (i < 8) add_pair("tokens cut", index, bytes.substr(0, cut_length(bytes.size(), i)));
    }
    add_pair("index too long", index + '\0', bytes);
    add_pair("tokens too long", index, bytes + std::string(sizeof(T), '\1'));
    add_pair("files swapped", bytes, index);
    add_pair("text for an index", std::string(index.size(), 'x'), bytes);
    add_pair("index of zeros", std::string(index.size(), '\0'), bytes);
    for (size_t i = 0; i < 9; i += 2)
      spoil("magic", [&](MegatronIndex& x) { x.magic[i] = static_cast<char>(x.magic[i] ^ 4); });
    for (uint64_t version : {uint64_t{0}, uint64_t{2}, uint64_t{1} << 40})
      spoil("version", [&](MegatronIndex& x) { x.version = version; });
    for (const uint8_t code : std::to_array<uint8_t>({0, 6, 7, 9, 255}))
      spoil("type", [&](MegatronIndex& x) { x.type = code; });
    spoil("another width", [&](MegatronIndex& x) { x.type = type == 8 ? 4 : 8; });
    for (uint64_t count : kWrongCounts) {
      spoil("sequences", [&](MegatronIndex& x) { x.num_sequences = count; });
      if (count != 7) spoil("entries", [&](MegatronIndex& x) { x.num_entries = count; });
    }
    for (int32_t length : {-1, 19, 21, INT32_MAX, INT32_MIN})
      spoil("length", [&](MegatronIndex& x) { x.lengths[1] = length; });
    for (int64_t offset : {int64_t{-2}, int64_t{1}, INT64_MAX, INT64_MIN, int64_t{1} << 33}) {
      spoil("offset", [&](MegatronIndex& x) { x.offsets[3] = offset; });
      spoil("last offset", [&](MegatronIndex& x) { x.offsets[5] = offset; });
    }
    add_pair("a length below 0 that the rest agrees with",
             MegatronIndex({10, -20, 0, 5, 24, 1}, type, sizeof(T)).bytes(),
             bytes.substr(0, 20 * sizeof(T)));
    spoil("first offset", [](MegatronIndex& x) { x.offsets[0] = 2; });
    for (int64_t entry : {int64_t{-1}, int64_t{6}, INT64_MAX})
      spoil("document", [&](MegatronIndex& x) { x.documents[2] = entry; });
    for (int64_t entry : {int64_t{5}, int64_t{7}, INT64_MAX, INT64_MIN})
      spoil("last document", [&](MegatronIndex& x) { x.documents[6] = entry; });
    spoil("first document", [](MegatronIndex& x) { x.documents[0] = 1; });
    for (size_t place : {size_t{0}, size_t{37}, tokens.size() - 1}) {
      std::vector<T> wrong = tokens;
      wrong[place] = static_cast<T>(-1);  // 65535 where there is no sign
      add_pair("an id", index, bytes_of(wrong));
      wrong[place] = kDamagedVocab;
      add_pair("an id one too high", index, bytes_of(wrong));
    }
  }

  template <typename T>
  void damage_shards(const std::vector<int32_t>& header) {
    const std::vector<T> tokens = sound_tokens<T>();
    const std::string bytes = shard(header, tokens);
    const auto spoil = [&](const std::string& what, size_t entry, int32_t value) {
      std::vector<int32_t> wrong = header;
      wrong[entry] = value;
      add_shard(what, shard(wrong, tokens));
    };
    for (uint64_t i = 0; i < 10; ++i)
      add_shard("cut", bytes.substr(0, cut_length(bytes.size(), i)));
    add_shard("header alone", bytes.substr(0, 1024));
    add_shard("too long", bytes + '\0');
    add_shard("text", std::string(bytes.size(), 'x'));
    for (int32_t bit = 1; bit > 0 && bit < 1 << 30; bit *= 8) spoil("magic", 0, header[0] ^ bit);
    spoil("another magic", 0, header[0] == 20240801 ? 20240520 : 20240801);
    for (int32_t version : {0, 2, -1, 1 << 24}) spoil("version", 1, version);
    for (int32_t count : {0, 59, 61, -1, -60, INT32_MAX, INT32_MIN}) spoil("count", 2, count);
    if (header[3] != 0)
      for (int32_t width : {0, 1, 2, 3, 8, -4, INT32_MIN}) spoil("width", 3, width);
    for (size_t place : {size_t{0}, tokens.size() - 1}) {
      std::vector<T> wrong = tokens;
      wrong[place] = static_cast<T>(-1);
      add_shard("an id", shard(header, wrong));
    }
  }

  std::filesystem::path folder_;
  std::vector<DamagedData> all_;
};

}  // namespace nemo::test
