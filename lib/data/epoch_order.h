// The order of `count` samples over an endless row of passes, each a permutation of its own, drawn
// by (seed, epoch), or each in file order.
//
// The permutation is computed, not stored: a Feistel network over a grid a*b >= count, a few cells
// larger at most, with Philox as its round function; a value outside the range is sent through
// again ("cycle walking"). So any position costs the same small time and no memory, whatever the
// number of samples, resuming at a cursor is free, and all threads share one object without a lock.
// Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002.
#pragma once

#include <cstdint>

namespace nemo {

class EpochOrder {
 public:
  // count: samples of a pass, 1 … 2^62.
  EpochOrder(int64_t count, bool shuffle, uint64_t seed);

  // The sample at `position` >= 0; pass e holds positions e*count … (e+1)*count - 1.
  int64_t operator()(int64_t position) const;

 private:
  int64_t permute(int64_t index, uint64_t epoch) const;

  int64_t count_;
  int64_t num_cols_;
  int64_t num_rows_;
  bool shuffle_;
  uint64_t seed_;
};

}  // namespace nemo
