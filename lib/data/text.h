// Text as bytes: token ids 0–255, files in the given order, each ending in one end-of-document
// token where the vocabulary has it. Every file is split by tokens into the three parts; a part
// joins its share of all files, and its sample i is tokens [i*seq, i*seq + seq + 1).
#pragma once

#include <array>
#include <vector>

#include "lib/core/mapped_file.h"
#include "lib/core/math.h"
#include "lib/data/dataset.h"
#include "lib/data/epoch_order.h"

namespace nemo {

inline constexpr int32_t kEndOfDocument = 256;

class TextDataset : public Dataset {
 public:
  // Reads kind, paths, tokenizer, seq_length, shuffle and split of config. A file of n tokens is
  // cut at round-half-even(n * cumulated split). Throws UserError kData for a file that is missing,
  // unreadable, empty, not a file or holds a byte >= vocab_size, and for a needed part shorter than
  // seq_length + 1 tokens; kUsage for settings that no file could satisfy.
  TextDataset(const DataConfig& config, int64_t vocab_size, uint64_t seed,
              std::span<const Part> needed);

  int64_t num_samples(Part part) const override;
  void read(Part part, int64_t position, std::span<int32_t> tokens) const override;

  int64_t num_tokens(Part part) const;

 private:
  // A run of tokens of one file, and its place among the tokens of the part.
  struct Segment {
    size_t file = 0;
    int64_t file_begin = 0;
    Range place;
  };

  const std::vector<Segment>& segments(Part part) const {
    return segments_[static_cast<size_t>(part)];
  }
  void add_file(const std::string& path, int64_t vocab_size, const std::array<double, 3>& split);
  void copy(const std::vector<Segment>& segments, int64_t first, std::span<int32_t> tokens) const;

  int64_t seq_length_;
  std::vector<MappedFile> files_;
  std::array<std::vector<Segment>, kNumParts> segments_;
  // The order of the training part; of one sample where that part has none and is not needed.
  EpochOrder train_order_;
};

}  // namespace nemo
