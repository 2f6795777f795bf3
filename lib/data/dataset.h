// What training reads: samples of seq_length + 1 tokens, by part and place in the part's order.
// One immutable dataset serves all ranks of a process; every method may be called from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "lib/data/parts.h"
#include "lib/recipe/schema.h"

namespace nemo {

class Dataset {
 public:
  // What num_samples says of a part without an end.
  static constexpr int64_t kEndless = INT64_MAX;

  virtual ~Dataset() = default;

  // Samples of one pass over the part.
  virtual int64_t num_samples(Part part) const = 0;

  // Fills tokens, seq_length + 1 of them, with the sample at `position` of the part's order. The
  // training part goes on for ever, pass after pass; the other parts end at num_samples. The order
  // depends on the seed and the data alone, not on the run's length; of kind megatron, which
  // shuffles a row of fixed length, on data.num_samples too. Throws UserError kData for a token
  // that is no id of the vocabulary.
  virtual void read(Part part, int64_t position, std::span<int32_t> tokens) const = 0;
};

// The data of a recipe. Throws UserError: kData for files that cannot serve (see TextDataset),
// kUsage for a kind that this version cannot read. Every part in `needed` holds a sample.
std::unique_ptr<const Dataset> open_dataset(const DataConfig& config, int64_t vocab_size,
                                            uint64_t seed, std::span<const Part> needed);

}  // namespace nemo
