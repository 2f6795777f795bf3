#include "lib/nn/context_parallel.h"

#include <cmath>

#include "kernels/attention.h"
#include "kernels/attention_merge.h"
#include "kernels/elementwise.h"
#include "kernels/strided.h"
#include "lib/nn/head_exchange.h"

namespace nemo {
namespace {

using kernels::AttentionMask;

Communicator& cp_of(const Context& ctx) {
  return ctx.mesh[Axis::kCp];
}

// Alone, p2p has nobody to talk to and copies nothing.
CpCommType mode_of(const Context& ctx) {
  return cp_of(ctx).size() == 1 ? CpCommType::kP2P : ctx.cp_comm_type;
}

float scale_of(const AttentionSizes& sizes) {
  return 1 / std::sqrt(static_cast<float>(sizes.head_dim));
}

Tensor rows(const Tensor& heads, const Range& range) {
  return heads.slice(1, range.begin, range.end);
}

// Views of [B, S, n, D]: queries, keys, values; or keys and values.
Tensor queries(const AttentionSizes& sizes, const Tensor& qkv) {
  return qkv.slice(2, 0, sizes.num_heads);
}
Tensor keys_values(const AttentionSizes& sizes, const Tensor& qkv) {
  return qkv.slice(2, sizes.num_heads, sizes.num_heads + 2 * sizes.num_groups);
}
Tensor keys(const AttentionSizes& sizes, const Tensor& kv) {
  return kv.slice(2, 0, sizes.num_groups);
}
Tensor values(const AttentionSizes& sizes, const Tensor& kv) {
  return kv.slice(2, sizes.num_groups, 2 * sizes.num_groups);
}

Tensor message(Context& ctx, const Shape& shape, const char* name) {
  return Tensor(ctx.stream.arena(), ctx.activation_dtype, shape, MemoryCategory::kCommunication,
                name);
}

// What this rank's queries see of the keys of rank `source`.
struct Block {
  Range queries;
  Range keys;
  AttentionMask mask;
};

Block block_of(int rank, int source, int64_t seq) {
  if (source == rank) return {{0, seq}, {0, seq}, AttentionMask::kCausal};
  if (source < rank) return {{0, seq}, {0, seq / 2}, AttentionMask::kNone};
  return {{seq / 2, seq}, {0, seq}, AttentionMask::kNone};
}

// The queries of this rank, to which blocks of keys are added one by one, its own first.
struct Forward {
  Context& ctx;
  const AttentionSizes& sizes;
  Tensor q, o, lse;

  void add(int source, const Tensor& kv) const {
    const Block block = block_of(cp_of(ctx).rank(), source, q.size(1));
    const Tensor seen = rows(kv, block.keys);
    if (source == cp_of(ctx).rank()) return run(q, seen, block.mask, o, lse);
    const Tensor asking = rows(q, block.queries);
    const Shape lse_shape = {q.size(0), q.size(2), block.queries.size()};
    const Tensor part_o = ctx.stream.workspace(q.dtype(), asking.shape(), "attention.part_o");
    const Tensor part_lse = ctx.stream.workspace(DType::kF32, lse_shape, "attention.part_lse");
    run(asking, seen, block.mask, part_o, part_lse);
    kernels::attention_merge(ctx.stream, part_o, part_lse, rows(o, block.queries),
                             lse.slice(2, block.queries.begin, block.queries.end));
  }

 private:
  void run(const Tensor& of, const Tensor& kv, AttentionMask mask, const Tensor& to_o,
           const Tensor& to_lse) const {
    kernels::attention_forward(ctx.stream, of, keys(sizes, kv), values(sizes, kv), mask,
                               scale_of(sizes), to_o, to_lse);
  }
};

// Its mirror: o and lse are those over all keys, so that the blocks' gradients add up.
struct Backward {
  Context& ctx;
  const AttentionSizes& sizes;
  Tensor doutput, q, o, lse, dq;

  // dkv = this block's, zero for keys that are not seen.
  void add(int source, const Tensor& kv, const Tensor& dkv) const {
    const Block block = block_of(cp_of(ctx).rank(), source, q.size(1));
    if (source == cp_of(ctx).rank()) return run(block, kv, dq, dkv);
    if (block.keys.size() < kv.size(1)) kernels::fill(ctx.stream, dkv, 0);
    const Tensor asking = rows(q, block.queries);
    const Tensor part = ctx.stream.workspace(q.dtype(), asking.shape(), "attention.part_dq");
    run(block, kv, part, dkv);
    kernels::strided_add(ctx.stream, part, rows(dq, block.queries));
  }

 private:
  void run(const Block& block, const Tensor& kv, const Tensor& to_dq, const Tensor& dkv) const {
    const Tensor seen = rows(kv, block.keys), dseen = rows(dkv, block.keys);
    kernels::attention_backward(ctx.stream,
                                {.doutput = rows(doutput, block.queries),
                                 .q = rows(q, block.queries),
                                 .k = keys(sizes, seen),
                                 .v = values(sizes, seen),
                                 .o = rows(o, block.queries),
                                 .lse = lse.slice(2, block.queries.begin, block.queries.end),
                                 .mask = block.mask,
                                 .scale = scale_of(sizes),
                                 .dq = to_dq,
                                 .dk = keys(sizes, dseen),
                                 .dv = values(sizes, dseen)});
  }
};

// A block on its way to the next rank of the ring, while the one before sends its own.
struct Shift {
  Tensor arriving;
  Work sent, received;

  // The block that has arrived; the one sent is free.
  Tensor wait(Context& ctx) {
    sent.wait(ctx.stream);
    received.wait(ctx.stream);
    return std::exchange(arriving, {});
  }
};

Shift shift(Context& ctx, const Tensor& block, const char* label) {
  Communicator& cp = cp_of(ctx);
  const Tensor arriving = message(ctx, block.shape(), label);
  Work sent = cp.send(block, (cp.rank() + 1) % cp.size(), label);
  return {arriving, std::move(sent),
          cp.receive(arriving, (cp.rank() + cp.size() - 1) % cp.size(), label)};
}

// The rank whose block is here at a step of the ring.
int source_at(const Communicator& cp, int step) {
  return (cp.rank() - step + cp.size()) % cp.size();
}

Tensor packed(Context& ctx, const Tensor& kv) {
  const Tensor block = message(ctx, kv.shape(), "cp_kv");
  kernels::strided_copy(ctx.stream, kv, block);
  return block;
}

// visit(source, kv) for every rank's block, this one's first.
template <typename Visit>
void visit_ring(Context& ctx, const Tensor& own, const Visit& visit) {
  const int last = cp_of(ctx).size() - 1;
  Tensor kv = own;
  for (int step = 0; step <= last; ++step) {
    Shift next;
    if (step < last) next = shift(ctx, step == 0 ? packed(ctx, kv) : kv, "cp_kv");
    visit(source_at(cp_of(ctx), step), kv);
    kv = next.wait(ctx);
  }
}

void ring_backward(Context& ctx, const Backward& backward, const Tensor& kv, const Tensor& dkv) {
  Shift gradient;  // of the block here, from the ranks that had it before
  visit_ring(ctx, kv, [&](int source, const Tensor& block) {
    if (source == cp_of(ctx).rank()) return backward.add(source, block, dkv);
    const Tensor sum = message(ctx, block.shape(), "cp_dkv");
    backward.add(source, block, sum);
    if (gradient.arriving) kernels::add(ctx.stream, sum, gradient.wait(ctx), sum);
    gradient = shift(ctx, sum, "cp_dkv");
  });
  if (gradient.arriving) kernels::strided_add(ctx.stream, gradient.wait(ctx), dkv);
}

// The same as visit_ring, with all blocks at once.
template <typename Visit>
void visit_gathered(Context& ctx, const Tensor& own, const Visit& visit) {
  Communicator& cp = cp_of(ctx);
  const Tensor all =
      message(ctx, {cp.size(), own.size(0), own.size(1), own.size(2), own.size(3)}, "cp_kv");
  kernels::strided_copy(ctx.stream, own, all.at(cp.rank()));
  Work gathered = cp.all_gather(all.at(cp.rank()), all, "cp_kv");
  visit(cp.rank(), own);
  gathered.wait(ctx.stream);
  for (int step = 1; step < cp.size(); ++step)
    visit(source_at(cp, step), all.at(source_at(cp, step)));
}

void gathered_backward(Context& ctx, const Backward& backward, const Tensor& kv,
                       const Tensor& dkv) {
  Communicator& cp = cp_of(ctx);
  const Tensor all =
      message(ctx, {cp.size(), kv.size(0), kv.size(1), kv.size(2), kv.size(3)}, "cp_dkv");
  visit_gathered(ctx, kv, [&](int source, const Tensor& block) {
    backward.add(source, block, all.at(source));
  });
  const Tensor own = all.at(cp.rank());
  cp.reduce_scatter(all, own, ReduceOp::kSum, "cp_dkv").wait(ctx.stream);
  kernels::strided_copy(ctx.stream, own, dkv);
}

// What a rank holds of the heads between the two.
AttentionSizes share_of(const Context& ctx, const AttentionSizes& sizes) {
  const int64_t cp = cp_of(ctx).size();
  return {div_exact(sizes.num_heads, cp), div_exact(sizes.num_groups, cp), sizes.head_dim};
}

Tensor attend_by_heads(Context& ctx, const AttentionSizes& sizes, Tensor qkv, AttendSaved& saved) {
  const AttentionSizes share = share_of(ctx, sizes);
  const Shape o_shape = {qkv.size(0), qkv.size(1), sizes.num_heads, sizes.head_dim};
  {
    const Tensor kv = keys_values(sizes, qkv);
    saved.qkv = tokens_to_heads(ctx, {queries(sizes, qkv), keys(sizes, kv), values(sizes, kv)});
    qkv = {};
  }
  const Tensor q = queries(share, saved.qkv), kv = keys_values(share, saved.qkv);
  const Tensor all_o = ctx.activation(q.shape(), "attention.o");
  saved.lse = ctx.activation({q.size(0), q.size(2), q.size(1)}, "attention.lse", DType::kF32);
  kernels::attention_forward(ctx.stream, q, keys(share, kv), values(share, kv),
                             AttentionMask::kCausal, scale_of(sizes), all_o, saved.lse);
  Tensor o = ctx.activation(o_shape, "attention.o");
  heads_to_tokens(ctx, all_o, {o});
  return o;
}

Tensor attend_by_heads_backward(Context& ctx, const AttentionSizes& sizes, const Tensor& doutput,
                                const Tensor& o, AttendSaved saved) {
  const AttentionSizes share = share_of(ctx, sizes);
  const Tensor all_dqkv = ctx.activation(saved.qkv.shape(), "attention.dqkv");
  {
    const Tensor all = tokens_to_heads(ctx, {doutput, o});
    const Tensor kv = keys_values(share, saved.qkv), dkv = keys_values(share, all_dqkv);
    kernels::attention_backward(ctx.stream,
                                {.doutput = all.slice(2, 0, share.num_heads),
                                 .q = queries(share, saved.qkv),
                                 .k = keys(share, kv),
                                 .v = values(share, kv),
                                 .o = all.slice(2, share.num_heads, 2 * share.num_heads),
                                 .lse = saved.lse,
                                 .mask = AttentionMask::kCausal,
                                 .scale = scale_of(sizes),
                                 .dq = queries(share, all_dqkv),
                                 .dk = keys(share, dkv),
                                 .dv = values(share, dkv)});
  }
  saved = {};
  Tensor dqkv =
      ctx.activation({o.size(0), o.size(1), sizes.num_heads + 2 * sizes.num_groups, sizes.head_dim},
                     "attention.dqkv");
  const Tensor dkv = keys_values(sizes, dqkv);
  heads_to_tokens(ctx, all_dqkv, {queries(sizes, dqkv), keys(sizes, dkv), values(sizes, dkv)});
  return dqkv;
}

}  // namespace

Tensor attend(Context& ctx, const AttentionSizes& sizes, Tensor qkv, AttendSaved& saved) {
  const CpCommType mode = mode_of(ctx);
  if (mode == CpCommType::kA2A) return attend_by_heads(ctx, sizes, std::move(qkv), saved);
  const Tensor q = queries(sizes, qkv), kv = keys_values(sizes, qkv);
  Tensor o = ctx.activation(q.shape(), "attention.o");
  saved = {std::move(qkv),
           ctx.activation({q.size(0), q.size(2), q.size(1)}, "attention.lse", DType::kF32)};
  const Forward forward = {ctx, sizes, q, o, saved.lse};
  const auto visit = [&](int source, const Tensor& block) { forward.add(source, block); };
  if (mode == CpCommType::kP2P)
    visit_ring(ctx, kv, visit);
  else
    visit_gathered(ctx, kv, visit);
  return o;
}

Tensor attend_backward(Context& ctx, const AttentionSizes& sizes, const Tensor& doutput,
                       const Tensor& o, AttendSaved saved) {
  const CpCommType mode = mode_of(ctx);
  if (mode == CpCommType::kA2A)
    return attend_by_heads_backward(ctx, sizes, doutput, o, std::move(saved));
  Tensor dqkv = ctx.activation(saved.qkv.shape(), "attention.dqkv");
  const Backward backward = {
      ctx, sizes, doutput, queries(sizes, saved.qkv), o, saved.lse, queries(sizes, dqkv)};
  const Tensor kv = keys_values(sizes, saved.qkv), dkv = keys_values(sizes, dqkv);
  if (mode == CpCommType::kP2P)
    ring_backward(ctx, backward, kv, dkv);
  else
    gathered_backward(ctx, backward, kv, dkv);
  return dqkv;
}

}  // namespace nemo
