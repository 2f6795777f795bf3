#include "lib/data/mock.h"

#include "lib/core/error.h"
#include "lib/core/philox.h"

namespace nemo {

MockDataset::MockDataset(int64_t seq_length, int64_t vocab_size, uint64_t seed)
    : seq_length_(seq_length), vocab_size_(vocab_size), seed_(seed) {}

void MockDataset::read(Part part, int64_t position, std::span<int32_t> tokens) const {
  NEMO_CHECK(std::ssize(tokens) == seq_length_ + 1, "[mock] room for {} tokens, a sample has {}",
             tokens.size(), seq_length_ + 1);
  NEMO_CHECK(position >= 0, "[mock] sample {} is negative", position);
  const PhiloxBlock random =
      philox(seed_, static_cast<uint64_t>(position), static_cast<uint64_t>(part));
  const int64_t start = 1 + random[0] % 7;
  const int64_t distance = 1 + random[1] % 7;
  for (int64_t j = 0; j <= seq_length_; ++j)
    tokens[static_cast<size_t>(j)] = static_cast<int32_t>((start + j * distance) % vocab_size_);
}

}  // namespace nemo
