// Tokens of files in a row: every file is cut by tokens into the three parts, a part joins its
// share of all files, and its sample i is tokens [i*seq, i*seq + seq + 1). What text and llm.c
// shards have in common.
#pragma once

#include <optional>
#include <vector>

#include "lib/core/mapped_file.h"
#include "lib/data/dataset.h"
#include "lib/data/epoch_order.h"
#include "lib/data/token_array.h"

namespace nemo {

struct TokenFile {
  MappedFile file;
  TokenArray tokens;  // in the map
  // A token that follows those in the file.
  std::optional<int32_t> end_token = {};

  int64_t num_tokens() const { return tokens.size() + (end_token ? 1 : 0); }
};

class TokenStream : public Dataset {
 public:
  // Reads seq_length, shuffle, split and paths of config; files are those of paths. A file of n
  // tokens is cut by cut_into_parts(n, split). Throws UserError kData for a token among the first
  // of a file that is no id of vocab_size, and for a needed part shorter than seq_length + 1
  // tokens. Later tokens are checked as they are read.
  TokenStream(const DataConfig& config, int64_t vocab_size, uint64_t seed,
              std::vector<TokenFile> files, std::span<const Part> needed);

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
  void add_segments(size_t file, const PerPart<double>& split);
  void copy(const std::vector<Segment>& segments, int64_t first, std::span<int32_t> tokens) const;
  void copy_from(const TokenFile& file, int64_t first, std::span<int32_t> tokens) const;

  int64_t seq_length_;
  int64_t vocab_size_;
  std::vector<TokenFile> files_;
  PerPart<std::vector<Segment>> segments_;
  // The order of the training part; of one sample where that part has none and is not needed.
  EpochOrder train_order_;
};

}  // namespace nemo
