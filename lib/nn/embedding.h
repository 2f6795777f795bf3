// Token embedding, with learned absolute positions where the model has them: tokens in, x [rows, h]
// out. A tp rank looks up the tokens of its slice of the table and leaves the others zero; the sum
// over the ranks is the embedding. Positions are added by rank 0 alone.
#pragma once

#include "lib/nn/module.h"
#include "lib/nn/vocab_table.h"

namespace nemo {

class Embedding {
 public:
  struct Saved {};
  struct Deferred {
    Tensor dy;  // [T, h]
  };

  // position_table: kNoParam where the model has none.
  Embedding(VocabTable token_table, ParamId position_table)
      : token_table_(token_table), position_table_(position_table) {}

  // x is ignored: the tokens of the batch are the input.
  Tensor forward(Context& ctx, const MicroBatch& batch, const Tensor& x, Saved& saved) const;
  // Returns an empty tensor.
  Tensor backward_input(Context& ctx, const MicroBatch& batch, const Tensor& dy, Saved saved,
                        Deferred& deferred) const;
  void backward_weight(Context& ctx, const MicroBatch& batch, Deferred deferred) const;

 private:
  // The position of every token, [T].
  Tensor positions_of_tokens(Context& ctx, const MicroBatch& batch) const;

  VocabTable token_table_;
  ParamId position_table_;
};

}  // namespace nemo
