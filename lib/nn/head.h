// Final norm, output product and cross-entropy: x [rows, h] in (T tokens, or this rank's of them
// with sequence parallelism), the sum of the tokens' losses out.
//
// The logits never exist at once. In training, forward works through chunks of rows, and turns each
// chunk of logits into its gradient in place while it is at hand: this saves the product that
// computing them again in backward would cost (a fifth of a 1B model's head). So forward already
// adds the gradient of the output matrix; what backward needs is the gradient of the normed x.
//
// The vocabulary is divided among the tp ranks: each computes logits [chunk, V / tp], and only the
// statistics of the rows are shared, so that no rank ever holds a full row. Every tp rank adds the
// same loss of all T tokens.
#pragma once

#include "lib/nn/norm.h"
#include "lib/nn/vocab_table.h"

namespace nemo {

class Head {
 public:
  struct Saved {
    Norm::Saved norm;
    Tensor dnormed;  // [rows, h]; training only
  };
  struct Deferred {
    Norm::Deferred norm;
  };

  Head(Norm norm, VocabTable table) : norm_(norm), table_(table) {}

  // Adds to ctx.loss_sum; returns an empty tensor.
  Tensor forward(Context& ctx, const MicroBatch& batch, const Tensor& x, Saved& saved) const;
  // dy is ignored: the loss is what is differentiated.
  Tensor backward_input(Context& ctx, const MicroBatch& batch, const Tensor& dy, Saved saved,
                        Deferred& deferred) const;
  void backward_weight(Context& ctx, const MicroBatch& batch, Deferred deferred) const;

 private:
  // Rows of this rank in a chunk; `spread`: ranks that the tokens are spread over.
  int64_t rows_of_chunk(const Context& ctx, int64_t spread) const;
  // [spread * range]: the targets of these rows of every rank.
  Tensor targets_of_chunk(Context& ctx, const MicroBatch& batch, int64_t rows,
                          const Range& range) const;
  // The logits become their gradient when training.
  void loss_of_chunk(Context& ctx, const Tensor& targets, const Tensor& logits) const;

  Norm norm_;
  VocabTable table_;
};

}  // namespace nemo
