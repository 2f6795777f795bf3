// The crossing between a cp rank's tokens with all heads and all tokens with a cp-th of the heads
// (Jacobs et al. 2023, "DeepSpeed Ulysses"). Each is the other's inverse, and so its conjugate.
//
// `parts` are [B, S, n_i, D], S tokens of this rank in its order (zigzag.h), each n_i a multiple of
// cp: their heads are divided in order, so that query heads stay with their key/value heads.
// `whole` is [B, cp S, n, D], n = sum n_i / cp, the sequence in its natural order.
#pragma once

#include <initializer_list>

#include "lib/nn/context.h"

namespace nemo {

using HeadParts = std::initializer_list<Tensor>;

Tensor tokens_to_heads(Context& ctx, const HeadParts& parts);
// parts = .
void heads_to_tokens(Context& ctx, const Tensor& whole, const HeadParts& parts);

}  // namespace nemo
