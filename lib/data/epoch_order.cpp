#include "lib/data/epoch_order.h"

#include <cmath>

#include "lib/core/error.h"
#include "lib/core/math.h"
#include "lib/core/philox.h"

namespace nemo {
namespace {

// Each round mixes one coordinate of the grid into the other and back: eight Feistel half rounds.
constexpr uint64_t kNumRounds = 4;

// Keeps these draws apart from those of weights and mock data, which use the same seed.
constexpr uint64_t kStream = hash_name("sample order");

uint64_t draw(uint64_t seed, int64_t value, uint64_t half_round) {
  const PhiloxBlock block = philox(seed, static_cast<uint64_t>(value), kStream + half_round);
  return uint64_t{block[0]} << 32 | block[1];
}

int64_t add_modulo(int64_t value, uint64_t random, int64_t modulus) {
  return (value + static_cast<int64_t>(random % static_cast<uint64_t>(modulus))) % modulus;
}

}  // namespace

EpochOrder::EpochOrder(int64_t count, bool shuffle, uint64_t seed)
    : count_(count), shuffle_(shuffle), seed_(seed) {
  NEMO_CHECK(count >= 1 && count <= int64_t{1} << 62, "[epoch_order] {} samples", count);
  num_cols_ = static_cast<int64_t>(std::sqrt(static_cast<double>(count)));
  while (num_cols_ * num_cols_ < count) ++num_cols_;
  num_rows_ = ceil_div(count, num_cols_);
}

int64_t EpochOrder::operator()(int64_t position) const {
  NEMO_CHECK(position >= 0, "[epoch_order] position {} is negative", position);
  const int64_t index = position % count_;
  return shuffle_ ? permute(index, static_cast<uint64_t>(position / count_)) : index;
}

int64_t EpochOrder::permute(int64_t index, uint64_t epoch) const {
  do {
    int64_t col = index % num_cols_;
    int64_t row = index / num_cols_;
    for (uint64_t round = epoch * kNumRounds; round < (epoch + 1) * kNumRounds; ++round) {
      col = add_modulo(col, draw(seed_, row, 2 * round), num_cols_);
      row = add_modulo(row, draw(seed_, col, 2 * round + 1), num_rows_);
    }
    index = row * num_cols_ + col;
  } while (index >= count_);
  return index;
}

}  // namespace nemo
