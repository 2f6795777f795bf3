// The samples of one part of one dataset in Megatron-Core's order (its GPTDataset).
//
// The part's documents, in as many passes as the samples need, stand in a row and are shuffled.
// Sample i of the row is its tokens [i*seq, i*seq + seq + 1), whatever documents they fall in. Then
// the samples are shuffled with the same generator. Where the run uses less than 80 % of the
// samples of the last pass, that pass is shuffled apart in both, so that the others are used up
// first.
#pragma once

#include <optional>
#include <vector>

#include "lib/data/megatron_file.h"

namespace nemo {

class MegatronOrder {
 public:
  struct Settings {
    Range documents;  // the file's sequences, which Megatron takes for documents
    int64_t seq_length = 0;
    // What the run asks for; nothing: one pass.
    std::optional<int64_t> num_samples = {};
    bool shuffle = true;  // false: documents and samples stay in the file's order
    uint32_t seed = 0;
  };

  // The file must outlive the order. There is no sample where one pass is asked for and is shorter
  // than seq_length + 1 tokens, or where the documents have fewer than 2. Throws UserError kUsage
  // where the order of so many samples is more than this machine can hold.
  MegatronOrder(const MegatronFile& file, const Settings& settings);

  // All that the passes have, so mostly more than were asked for.
  int64_t num_samples() const { return static_cast<int64_t>(samples_.size()); }

  // Fills tokens, seq_length + 1 of them, with the sample at `position`; throws what
  // TokenArray::read throws.
  void read(int64_t position, int64_t vocab_size, std::span<int32_t> tokens) const;

 private:
  // A sample's first token: a place in row_ and a token of the document there.
  struct Start {
    int64_t place;
    int32_t token;
  };

  struct Plan {
    int64_t num_passes = 1;
    int64_t num_samples = 0;
    // Samples that begin before the last pass, if that is shuffled apart; else all.
    int64_t num_together = 0;
  };
  static Plan plan(int64_t tokens_per_pass, const Settings& settings);
  void make_row(Range documents, int64_t num_passes);
  void find_starts(int64_t num_samples, int64_t seq_length);

  const MegatronFile* file_;
  std::vector<int32_t> row_;  // documents
  std::vector<Start> starts_;
  std::vector<uint32_t> samples_;  // the shuffled order of starts_
};

}  // namespace nemo
