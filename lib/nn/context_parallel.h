// Causal attention over samples whose tokens are divided among the cp ranks. Everything else in a
// model sees tokens one by one, so this is the one place where they meet.
//
// S = seq / cp tokens of each sample are here, two chunks of it (zigzag.h). Queries stay; keys and
// values come to them:
//
//   p2p         in a ring (Liu et al. 2023, "Ring Attention"): the next rank's block travels while
//               this one is computed; two blocks of K and V are held at most. In backward the
//               blocks' gradients travel behind them and end at their owners
//   all_gather  all at once; in backward a reduce-scatter of their gradients
//   a2a         all tokens of a cp-th of the heads instead (head_exchange.h)
//
// Of the blocks, each computed by itself and merged by log-sum-exp, none is half masked but a
// rank's own: of an earlier rank's tokens all queries here see the first chunk and none the second;
// all of a later rank's are seen by the second half of the queries and by none of the first. So a
// step of the ring takes every rank the same time.
#pragma once

#include "lib/nn/context.h"

namespace nemo {

struct AttentionSizes {
  int64_t num_heads;   // on this rank: H
  int64_t num_groups;  // key/value heads on this rank: G
  int64_t head_dim;    // D
};

// What attend keeps for backward.
struct AttendSaved {
  Tensor qkv;  // [B, S, H + 2 G, D]; under a2a [B, cp S, (H + 2 G) / cp, D]
  Tensor lse;  // [B, H, S]; under a2a [B, H / cp, cp S]
};

// qkv: [B, S, H + 2 G, D], queries, keys, values. Returns o: [B, S, H, D].
Tensor attend(Context& ctx, const AttentionSizes& sizes, Tensor qkv, AttendSaved& saved);
// o: of forward. Returns dqkv.
Tensor attend_backward(Context& ctx, const AttentionSizes& sizes, const Tensor& doutput,
                       const Tensor& o, AttendSaved saved);

}  // namespace nemo
