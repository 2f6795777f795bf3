#include "lib/data/token_stream.h"

#include <algorithm>

#include "lib/core/counted.h"
#include "lib/core/error.h"

namespace nemo {
namespace {

std::string describe(const std::vector<std::string>& paths) {
  if (paths.size() == 1) return paths.front();
  return fmt::format("{} and {} more", paths.front(), paths.size() - 1);
}

}  // namespace

TokenStream::TokenStream(const DataConfig& config, int64_t vocab_size, uint64_t seed,
                         std::vector<TokenFile> files, std::span<const Part> needed)
    : seq_length_(config.seq_length),
      vocab_size_(vocab_size),
      files_(std::move(files)),
      train_order_(1, false, seed) {
  for (size_t file = 0; file < files_.size(); ++file) {
    files_[file].tokens.check_start(vocab_size);
    add_segments(file, config.split);
  }
  for (Part part : needed) {
    if (num_samples(part) > 0) continue;
    throw_data(
        "[data.paths] {}: the {} part has {}, data.seq_length {} needs {}; give more data, "
        "a larger share in data.split or a shorter data.seq_length",
        describe(config.paths), to_string(part), counted(num_tokens(part), "token"), seq_length_,
        seq_length_ + 1);
  }
  const int64_t num_train = num_samples(Part::kTrain);
  if (num_train > 0) train_order_ = EpochOrder(num_train, config.shuffle, seed);
}

void TokenStream::add_segments(size_t file, const PerPart<double>& split) {
  const PerPart<Range> cuts = cut_into_parts(files_[file].num_tokens(), split);
  for (size_t part = 0; part < kNumParts; ++part) {
    if (cuts[part].size() == 0) continue;
    std::vector<Segment>& list = segments_[part];
    const int64_t place = list.empty() ? 0 : list.back().place.end;
    list.push_back({file, cuts[part].begin, {place, place + cuts[part].size()}});
  }
}

int64_t TokenStream::num_tokens(Part part) const {
  return segments(part).empty() ? 0 : segments(part).back().place.end;
}

int64_t TokenStream::num_samples(Part part) const {
  return std::max<int64_t>(num_tokens(part) - 1, 0) / seq_length_;
}

void TokenStream::read(Part part, int64_t position, std::span<int32_t> tokens) const {
  const int64_t count = num_samples(part);
  NEMO_CHECK(std::ssize(tokens) == seq_length_ + 1,
             "[token_stream] room for {} tokens, a sample has {}", tokens.size(), seq_length_ + 1);
  NEMO_CHECK(position >= 0 && count > 0 && (part == Part::kTrain || position < count),
             "[token_stream] sample {} of the {} part, which has {}", position, to_string(part),
             count);
  const int64_t sample = part == Part::kTrain ? train_order_(position) : position;
  copy(segments(part), sample * seq_length_, tokens);
}

void TokenStream::copy(const std::vector<Segment>& segments, int64_t first,
                       std::span<int32_t> tokens) const {
  auto segment =
      std::ranges::upper_bound(segments, first, {}, [](const Segment& s) { return s.place.end; });
  while (!tokens.empty()) {
    const size_t count = std::min(tokens.size(), static_cast<size_t>(segment->place.end - first));
    copy_from(files_[segment->file], segment->file_begin + first - segment->place.begin,
              tokens.first(count));
    tokens = tokens.subspan(count);
    first = segment->place.end;
    ++segment;
  }
}

void TokenStream::copy_from(const TokenFile& file, int64_t first, std::span<int32_t> tokens) const {
  if (first + std::ssize(tokens) > file.tokens.size()) {
    tokens.back() = file.end_token.value();
    tokens = tokens.first(tokens.size() - 1);
  }
  file.tokens.read(first, vocab_size_, tokens);
}

}  // namespace nemo
