#include "lib/data/text.h"

#include <algorithm>
#include <cmath>

#include "lib/core/counted.h"
#include "lib/core/error.h"

namespace nemo {
namespace {

// std::nearbyint rounds half to even, as Megatron does when it cuts documents.
int64_t cut(int64_t num_tokens, double share) {
  return static_cast<int64_t>(std::nearbyint(static_cast<double>(num_tokens) * share));
}

void check_settings(const DataConfig& config) {
  if (config.paths.empty())
    throw_usage(
        "[data.paths] 0 files, data.kind text needs at least 1; list the files to train on");
  if (config.tokenizer != "bytes")
    throw_usage("[data.tokenizer] {} cannot be read by this version; give bytes", config.tokenizer);
  double sum = 0.0;
  for (double share : config.split) sum += share;
  if (!(sum > 0.0))
    throw_usage("[data.split] the shares sum to {}, not to more than 0; give [0.9, 0.1, 0]", sum);
}

void check_bytes(const std::string& path, std::span<const uint8_t> bytes, int64_t vocab_size) {
  if (vocab_size > 255) return;
  const auto bad = std::ranges::find_if(bytes, [&](uint8_t byte) { return byte >= vocab_size; });
  if (bad != bytes.end())
    throw_data(
        "[data.paths] {}: byte {} at offset {} is no token of model.vocab_size {}; any text needs "
        "256, or 257 with an end-of-document token",
        path, *bad, bad - bytes.begin(), vocab_size);
}

std::string describe(const std::vector<std::string>& paths) {
  if (paths.size() == 1) return paths.front();
  return fmt::format("{} and {} more", paths.front(), paths.size() - 1);
}

}  // namespace

TextDataset::TextDataset(const DataConfig& config, int64_t vocab_size, uint64_t seed,
                         std::span<const Part> needed)
    : seq_length_(config.seq_length), train_order_(1, false, seed) {
  check_settings(config);
  for (const std::string& path : config.paths) add_file(path, vocab_size, config.split);
  for (Part part : needed) {
    if (num_samples(part) > 0) continue;
    throw_data(
        "[data.paths] {}: the {} part has {}, data.seq_length {} needs {}; give more text, "
        "a larger share in data.split or a shorter data.seq_length",
        describe(config.paths), to_string(part), counted(num_tokens(part), "token"), seq_length_,
        seq_length_ + 1);
  }
  const int64_t num_train = num_samples(Part::kTrain);
  if (num_train > 0) train_order_ = EpochOrder(num_train, config.shuffle, seed);
}

void TextDataset::add_file(const std::string& path, int64_t vocab_size,
                           const std::array<double, 3>& split) {
  const MappedFile& file = files_.emplace_back(path, "data.paths");
  if (file.size() == 0)
    throw_data("[data.paths] {}: it is empty, 0 bytes of at least 1; leave it out", path);
  check_bytes(path, file.bytes(), vocab_size);
  const int64_t num_file_tokens = file.size() + (vocab_size > kEndOfDocument ? 1 : 0);
  const double total = split[0] + split[1] + split[2];
  double cumulated = 0.0;
  int64_t begin = 0;
  for (size_t part = 0; part < kNumParts; ++part) {
    cumulated += split[part];
    const int64_t end = cut(num_file_tokens, cumulated / total);
    std::vector<Segment>& list = segments_[part];
    const int64_t place = list.empty() ? 0 : list.back().place.end;
    if (end > begin) list.push_back({files_.size() - 1, begin, {place, place + end - begin}});
    begin = end;
  }
}

int64_t TextDataset::num_tokens(Part part) const {
  return segments(part).empty() ? 0 : segments(part).back().place.end;
}

int64_t TextDataset::num_samples(Part part) const {
  return std::max<int64_t>(num_tokens(part) - 1, 0) / seq_length_;
}

void TextDataset::read(Part part, int64_t position, std::span<int32_t> tokens) const {
  const int64_t count = num_samples(part);
  NEMO_CHECK(std::ssize(tokens) == seq_length_ + 1, "[text] room for {} tokens, a sample has {}",
             tokens.size(), seq_length_ + 1);
  NEMO_CHECK(position >= 0 && count > 0 && (part == Part::kTrain || position < count),
             "[text] sample {} of the {} part, which has {}", position, to_string(part), count);
  const int64_t sample = part == Part::kTrain ? train_order_(position) : position;
  copy(segments(part), sample * seq_length_, tokens);
}

void TextDataset::copy(const std::vector<Segment>& segments, int64_t first,
                       std::span<int32_t> tokens) const {
  auto segment =
      std::ranges::upper_bound(segments, first, {}, [](const Segment& s) { return s.place.end; });
  while (!tokens.empty()) {
    const std::span<const uint8_t> bytes = files_[segment->file].bytes();
    const auto begin = static_cast<size_t>(segment->file_begin + first - segment->place.begin);
    const size_t count = std::min(tokens.size(), static_cast<size_t>(segment->place.end - first));
    const size_t num_bytes = std::min(count, bytes.size() - begin);
    std::ranges::copy(bytes.subspan(begin, num_bytes), tokens.begin());
    // What the file's bytes do not fill is its end-of-document token.
    if (num_bytes < count) tokens[num_bytes] = kEndOfDocument;
    tokens = tokens.subspan(count);
    first = segment->place.end;
    ++segment;
  }
}

}  // namespace nemo
