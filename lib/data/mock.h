// Made-up data without files or end: token j of sample i is (s + j*d) mod vocab_size, with s and d
// in 1 … 7 drawn by (seed, i). A model learns it in a few steps, and a swapped chunk of a sequence
// shows at once. Samples come in order; each part draws its own.
#pragma once

#include "lib/data/dataset.h"

namespace nemo {

class MockDataset : public Dataset {
 public:
  MockDataset(int64_t seq_length, int64_t vocab_size, uint64_t seed);

  int64_t num_samples(Part) const override { return kEndless; }
  void read(Part part, int64_t position, std::span<int32_t> tokens) const override;

 private:
  int64_t seq_length_;
  int64_t vocab_size_;
  uint64_t seed_;
};

}  // namespace nemo
