#include "lib/nn/head_exchange.h"

#include "kernels/strided.h"
#include "lib/nn/zigzag.h"

namespace nemo {
namespace {

// [cp, B, S, n, D]: block i goes to rank i or comes from it.
Tensor message(Context& ctx, const Tensor& heads, int64_t seq, int64_t num_heads) {
  const int64_t cp = ctx.mesh[Axis::kCp].size();
  return Tensor(ctx.stream.arena(), heads.dtype(),
                {cp, heads.size(0), seq, num_heads, heads.size(3)}, MemoryCategory::kCommunication,
                "cp_heads");
}

// visit(heads, place) for the heads of each part that one rank takes, and their place in its block.
template <typename Visit>
void for_each_share(const Tensor& blocks, int64_t rank, const HeadParts& parts,
                    const Visit& visit) {
  int64_t begin = 0;
  for (const Tensor& part : parts) {
    const int64_t share = div_exact(part.size(2), blocks.size(0));
    visit(part.slice(2, rank * share, (rank + 1) * share),
          blocks.at(rank).slice(2, begin, begin + share));
    begin += share;
  }
}

// visit(columns, place) for the two chunks of one rank's tokens, and their place in its block.
template <typename Visit>
void for_each_chunk(const Tensor& blocks, int64_t rank, const Tensor& whole, const Visit& visit) {
  int64_t begin = 0;
  for (const Range& columns : zigzag_columns(whole.size(1), blocks.size(0), rank)) {
    visit(whole.slice(1, columns.begin, columns.end),
          blocks.at(rank).slice(1, begin, begin + columns.size()));
    begin += columns.size();
  }
}

}  // namespace

Tensor tokens_to_heads(Context& ctx, const HeadParts& parts) {
  Communicator& cp = ctx.mesh[Axis::kCp];
  const Tensor& first = *parts.begin();
  int64_t num_heads = 0;
  for (const Tensor& part : parts) num_heads += div_exact<int64_t>(part.size(2), cp.size());
  const Tensor received = message(ctx, first, first.size(1), num_heads);
  {
    const Tensor sent = message(ctx, first, first.size(1), num_heads);
    for (int rank = 0; rank < cp.size(); ++rank)
      for_each_share(sent, rank, parts, [&](const Tensor& heads, const Tensor& place) {
        kernels::strided_copy(ctx.stream, heads, place);
      });
    cp.all_to_all(sent, received, "tokens_to_heads").wait(ctx.stream);
  }
  const Tensor whole = ctx.activation(
      {first.size(0), cp.size() * first.size(1), num_heads, first.size(3)}, "attention.heads");
  for (int rank = 0; rank < cp.size(); ++rank)
    for_each_chunk(received, rank, whole, [&](const Tensor& columns, const Tensor& place) {
      kernels::strided_copy(ctx.stream, place, columns);
    });
  return whole;
}

void heads_to_tokens(Context& ctx, const Tensor& whole, const HeadParts& parts) {
  Communicator& cp = ctx.mesh[Axis::kCp];
  const int64_t seq = div_exact<int64_t>(whole.size(1), cp.size());
  const Tensor received = message(ctx, whole, seq, whole.size(2));
  {
    const Tensor sent = message(ctx, whole, seq, whole.size(2));
    for (int rank = 0; rank < cp.size(); ++rank)
      for_each_chunk(sent, rank, whole, [&](const Tensor& columns, const Tensor& place) {
        kernels::strided_copy(ctx.stream, columns, place);
      });
    cp.all_to_all(sent, received, "heads_to_tokens").wait(ctx.stream);
  }
  for (int rank = 0; rank < cp.size(); ++rank)
    for_each_share(received, rank, parts, [&](const Tensor& heads, const Tensor& place) {
      kernels::strided_copy(ctx.stream, place, heads);
    });
}

}  // namespace nemo
