// A [vocab, h] table whose rows are divided among the tp ranks: token embedding and output matrix.
#pragma once

#include "lib/nn/param.h"

namespace nemo {

struct VocabTable {
  ParamId weight;
  int64_t first_row;   // of this rank's slice, which may be empty
  int64_t vocab_size;  // of the whole table
};

}  // namespace nemo
