// A byte-trigram model: what a training run on text must beat to have learned more than which bytes
// follow which.
//   P(c | a, b) = (count(a b c) + 0.1) / (count(a b) + 0.1 * V)
// counted over the training part in file order, with V the vocabulary's size and one
// end-of-document token before the first token.
#pragma once

#include <cstdint>

#include "lib/recipe/schema.h"

namespace nemo {

struct TrigramLoss {
  double nats = 0.0;  // mean over the targets
  int64_t num_targets = 0;
};

// The mean cross-entropy of the trigram model over exactly the targets of the first num_samples
// samples of the validation part of `data` (kind text); at most all of them.
TrigramLoss trigram_loss(const DataConfig& data, int64_t vocab_size, int64_t num_samples);

}  // namespace nemo
