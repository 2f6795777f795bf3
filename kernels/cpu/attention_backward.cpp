// Every product has keys or head elements in the lanes of vectors, rows of queries outside: what
// keys need transposed is packed once per block of keys and serves every query of the group.
//   p = exp(s - lse)    ds = p (dp - delta), dp = do v^T, delta = rowsum(do o)
//   dv = p^T do         dk = scale ds^T q                dq = scale ds k
#include <omp.h>

#include <type_traits>

#include "kernels/attention.h"
#include "kernels/cpu/attention_heads.h"
#include "kernels/functors/exp.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

constexpr int64_t kBlock = 96;  // queries or keys; a multiple of kTile for either instruction set

template <typename T>
struct Backward {
  Heads<T> doutput, q, k, v, o, dq, dk, dv;
  Statistics lse;
  int64_t batch, num_queries, num_keys, num_heads, num_groups, head_dim;
  bool causal;
  float scale;

  int64_t heads_per_group() const { return num_heads / num_groups; }
  int64_t padded_dim() const { return num_parts(head_dim, kTile) * kTile; }
};

// A task is every num_chunks-th block of keys of one kv group, with all queries of its heads. Its
// share of dq, [heads of the group, queries, padded_dim], adds up in dq itself or in rows of its
// own.
struct Task {
  int64_t b, g, chunk, num_chunks;
  float* dq;
  int64_t dq_row, dq_head;
};

// Of one thread. Blocks of rows are padded to a multiple of kTile; kt and vt are panels of kTile
// keys, each [head_dim, kTile].
struct Scratch {
  float *kt, *vt, *k, *dk, *dv, *q, *doutput, *p, *ds, *lse, *delta;

  template <typename T>
  static int64_t size(const Backward<T>& a) {
    return kBlock * (7 * a.padded_dim() + 2 * kBlock) + 2 * a.heads_per_group() * a.num_queries;
  }
  template <typename T>
  Scratch(float* memory, const Backward<T>& a) {
    const int64_t rows = kBlock * a.padded_dim();
    kt = memory;
    vt = kt + rows;
    k = vt + rows;
    dk = k + rows;
    dv = dk + rows;
    q = dv + rows;
    doutput = q + rows;
    p = doutput + rows;
    ds = p + kBlock * kBlock;
    lse = ds + kBlock * kBlock;
    delta = lse + a.heads_per_group() * a.num_queries;
  }
};

// lse in base-2 logarithms, and delta, of the group's heads.
template <typename T>
void load_statistics(const Backward<T>& a, const Task& task, const Scratch& scratch) {
  for (int64_t r = 0; r < a.heads_per_group(); ++r) {
    const int64_t h = task.g * a.heads_per_group() + r;
    const float* lse = a.lse.at(task.b, h);
    for (int64_t s = 0; s < a.num_queries; ++s) {
      const T *o = a.o.at(task.b, s, h), *doutput = a.doutput.at(task.b, s, h);
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t i = 0; i < a.head_dim; ++i) sum += load(o + i) * load(doutput + i);
      scratch.delta[r * a.num_queries + s] = sum;
      scratch.lse[r * a.num_queries + s] = lse[s] * kLog2E;
    }
  }
}

template <typename T>
void load_keys(const Backward<T>& a, const Task& task, int64_t first_key, int64_t num_keys,
               const Scratch& scratch) {
  const int64_t d = a.head_dim, padded = a.padded_dim();
  for (int64_t i = 0; i < kBlock * padded; ++i)
    scratch.dk[i] = scratch.dv[i] = scratch.kt[i] = scratch.vt[i] = 0;
  for (int64_t panel = 0; panel < num_keys; panel += kTile) {
    const int64_t rows = min_of(kTile, num_keys - panel);
    copy_transposed(a.k.at(task.b, first_key + panel, task.g), a.k.row, rows, d, a.scale * kLog2E,
                    scratch.kt + panel * d, kTile);
    copy_transposed(a.v.at(task.b, first_key + panel, task.g), a.v.row, rows, d, 1,
                    scratch.vt + panel * d, kTile);
  }
  copy_rows(a.k.at(task.b, first_key, task.g), a.k.row, num_keys, d, a.scale, scratch.k, padded);
}

// p <- exp2(s - lse), 0 where masked; ds <- p (ds - delta). Row i sees lanes 0 … i under a mask.
template <bool kMasked>
void differentiate_softmax(int64_t num_rows, const float* lse, const float* delta, float* p,
                           float* ds) {
  for (int64_t i = 0; i < num_rows; ++i, p += kBlock, ds += kBlock)
    for (int lane = 0; lane < kTile; ++lane) {
      const float probability = functors::exp2(p[lane] - lse[i]);
      p[lane] = !kMasked || lane <= i ? probability : 0;
      ds[lane] = p[lane] * (ds[lane] - delta[i]);
    }
}

// One block of queries against one block of keys. On the diagonal of a causal mask the products are
// cut into pieces of kTile, which leave out what is masked.
struct Block {
  int64_t num_queries, num_keys, head_dim, padded_dim;
  bool diagonal;
  int64_t piece() const { return diagonal ? kTile : kBlock; }
};

void compute_probabilities(const Block& block, const float* lse, const float* delta,
                           const Scratch& scratch) {
  const int64_t d = block.head_dim, padded = block.padded_dim;
  for (int64_t panel = 0; panel < block.num_keys; panel += kTile) {
    const int64_t first = block.diagonal ? panel : 0;
    const int64_t rows = block.num_queries - first;
    float* p = scratch.p + first * kBlock + panel;
    float* ds = scratch.ds + first * kBlock + panel;
    multiply<false>(rows, {scratch.q + first * padded, padded, 1}, {scratch.kt + panel * d, kTile},
                    d, p, kBlock);
    multiply<false>(rows, {scratch.doutput + first * padded, padded, 1},
                    {scratch.vt + panel * d, kTile}, d, ds, kBlock);
    const int64_t masked = block.diagonal ? min_of(kTile, rows) : 0;
    differentiate_softmax<true>(masked, lse + first, delta + first, p, ds);
    differentiate_softmax<false>(rows - masked, lse + first + masked, delta + first + masked,
                                 p + masked * kBlock, ds + masked * kBlock);
  }
}

void accumulate_dk_dv(const Block& block, const Scratch& scratch) {
  const int64_t padded = block.padded_dim;
  for (int64_t column = 0; column < padded; column += kTile)
    for (int64_t key = 0; key < block.num_keys; key += block.piece()) {
      const int64_t rows = min_of(block.piece(), block.num_keys - key);
      const int64_t first = block.diagonal ? key : 0;
      const int64_t cell = first * kBlock + key, from = first * padded + column;
      multiply<true>(rows, {scratch.p + cell, 1, kBlock}, {scratch.doutput + from, padded},
                     block.num_queries - first, scratch.dv + key * padded + column, padded);
      multiply<true>(rows, {scratch.ds + cell, 1, kBlock}, {scratch.q + from, padded},
                     block.num_queries - first, scratch.dk + key * padded + column, padded);
    }
}

template <bool kAccumulate>
void add_dq(const Block& block, const Scratch& scratch, float* dq, int64_t dq_row) {
  for (int64_t column = 0; column < block.padded_dim; column += kTile)
    for (int64_t row = 0; row < block.num_queries; row += block.piece()) {
      const int64_t rows = min_of(block.piece(), block.num_queries - row);
      const int64_t keys = block.diagonal ? min_of(block.num_keys, row + rows) : block.num_keys;
      multiply<kAccumulate>(rows, {scratch.ds + row * kBlock, kBlock, 1},
                            {scratch.k + column, block.padded_dim}, keys,
                            dq + row * dq_row + column, dq_row);
    }
}

template <typename T>
void run_block(const Backward<T>& a, const Task& task, int64_t r, int64_t first_query,
               int64_t first_key, const Scratch& scratch) {
  const int64_t h = task.g * a.heads_per_group() + r, d = a.head_dim, padded = a.padded_dim();
  const Block block = {min_of(kBlock, a.num_queries - first_query),
                       min_of(kBlock, a.num_keys - first_key), d, padded,
                       a.causal && first_query == first_key};
  copy_rows(a.q.at(task.b, first_query, h), a.q.row, block.num_queries, d, 1, scratch.q, padded);
  copy_rows(a.doutput.at(task.b, first_query, h), a.doutput.row, block.num_queries, d, 1,
            scratch.doutput, padded);
  const int64_t statistics = r * a.num_queries + first_query;
  compute_probabilities(block, scratch.lse + statistics, scratch.delta + statistics, scratch);
  accumulate_dk_dv(block, scratch);
  float* dq = task.dq + r * task.dq_head + first_query * task.dq_row;
  if (first_key == task.chunk * kBlock)
    add_dq<false>(block, scratch, dq, task.dq_row);
  else
    add_dq<true>(block, scratch, dq, task.dq_row);
}

template <typename T>
void run_task(const Backward<T>& a, const Task& task, const Scratch& scratch) {
  const int64_t d = a.head_dim, padded = a.padded_dim();
  load_statistics(a, task, scratch);
  for (int64_t first_key = task.chunk * kBlock; first_key < a.num_keys;
       first_key += task.num_chunks * kBlock) {
    const int64_t num_keys = min_of(kBlock, a.num_keys - first_key);
    load_keys(a, task, first_key, num_keys, scratch);
    for (int64_t r = 0; r < a.heads_per_group(); ++r)
      for (int64_t q = a.causal ? first_key : 0; q < a.num_queries; q += kBlock)
        run_block(a, task, r, q, first_key, scratch);
    for (int64_t i = 0; i < num_keys; ++i) {
      T *dk = a.dk.at(task.b, first_key + i, task.g), *dv = a.dv.at(task.b, first_key + i, task.g);
#pragma omp simd
      for (int64_t j = 0; j < d; ++j) {
        store(a.scale * scratch.dk[i * padded + j], dk + j);
        store(scratch.dv[i * padded + j], dv + j);
      }
    }
  }
}

// How the work is cut, and where each task's share of dq lies.
template <typename T>
struct Plan {
  int64_t team, num_chunks;
  Tensor shares;  // [B, G, chunks, H / G, Sq, padded_dim]; empty where dq itself takes them
  static constexpr bool kInPlace = std::is_same_v<T, float>;

  Plan(Stream& stream, const Backward<T>& a) {
    const int64_t groups = a.batch * a.num_groups;
    team = attention_team(stream, 5 * a.batch * a.num_heads * a.num_queries * a.num_keys *
                                      a.head_dim / (a.causal ? 2 : 1));
    num_chunks = groups % team == 0 ? 1 : num_parts(2 * team, groups);
    num_chunks = min_of(num_chunks, num_parts(a.num_keys, kBlock));
    if (num_chunks > 1 || a.head_dim != a.padded_dim() || !kInPlace)
      shares = stream.workspace(DType::kF32, {groups * num_chunks, share_size(a)}, "attention.dq");
  }
  static int64_t share_size(const Backward<T>& a) {
    return a.heads_per_group() * a.num_queries * a.padded_dim();
  }

  Task task(const Backward<T>& a, int64_t index) const {
    Task task = {index / num_chunks / a.num_groups,
                 index / num_chunks % a.num_groups,
                 index % num_chunks,
                 num_chunks,
                 nullptr,
                 a.padded_dim(),
                 a.num_queries * a.padded_dim()};
    if (shares) {
      task.dq = static_cast<float*>(shares.raw()) + index * share_size(a);
    } else if constexpr (kInPlace) {
      task.dq = a.dq.at(task.b, 0, task.g * a.heads_per_group());
      task.dq_row = a.dq.row;
      task.dq_head = a.dq.head;
    }
    return task;
  }
};

// dq = the sum of the shares, in the order of chunks. Under a causal mask the keys of a chunk are
// seen from its first block on.
template <typename T>
void add_shares(const Backward<T>& a, const Plan<T>& plan, int64_t group, int64_t r) {
  for (int64_t s = 0; s < a.num_queries; ++s) {
    const int64_t chunks = a.causal ? min_of(plan.num_chunks, s / kBlock + 1) : plan.num_chunks;
    const Task first = plan.task(a, group * plan.num_chunks);
    float* sum = first.dq + r * first.dq_head + s * first.dq_row;
    for (int64_t chunk = 1; chunk < chunks; ++chunk) {
      const Task task = plan.task(a, group * plan.num_chunks + chunk);
      const float* share = task.dq + r * task.dq_head + s * task.dq_row;
#pragma omp simd
      for (int64_t i = 0; i < a.head_dim; ++i) sum[i] += share[i];
    }
    T* dq = a.dq.at(first.b, s, first.g * a.heads_per_group() + r);
#pragma omp simd
    for (int64_t i = 0; i < a.head_dim; ++i) store(sum[i], dq + i);
  }
}

// No key was attended to.
template <typename T>
void clear_dq(const Backward<T>& a) {
  for (int64_t b = 0; b < a.batch; ++b)
    for (int64_t s = 0; s < a.num_queries; ++s)
      for (int64_t h = 0; h < a.num_heads; ++h)
        for (int64_t i = 0; i < a.head_dim; ++i) a.dq.at(b, s, h)[i] = T();
}

template <typename T>
void backward(Stream& stream, const AttentionBackward& args) {
  const Backward<T> a = {.doutput = Heads<T>(args.doutput),
                         .q = Heads<T>(args.q),
                         .k = Heads<T>(args.k),
                         .v = Heads<T>(args.v),
                         .o = Heads<T>(args.o),
                         .dq = Heads<T>(args.dq),
                         .dk = Heads<T>(args.dk),
                         .dv = Heads<T>(args.dv),
                         .lse = Statistics(args.lse),
                         .batch = args.q.size(0),
                         .num_queries = args.q.size(1),
                         .num_keys = args.k.size(1),
                         .num_heads = args.q.size(2),
                         .num_groups = args.k.size(2),
                         .head_dim = args.q.size(3),
                         .causal = args.mask == AttentionMask::kCausal,
                         .scale = args.scale};
  if (a.num_keys == 0) return stream.recording() ? void() : clear_dq(a);
  const Plan<T> plan(stream, a);
  const int64_t num_groups = a.batch * a.num_groups, scratch_size = Scratch::size(a);
  const Tensor scratch =
      stream.workspace(DType::kF32, {plan.team, scratch_size}, "attention_backward");
  if (stream.recording()) return;
  float* memory = static_cast<float*>(scratch.raw());
#pragma omp parallel num_threads(static_cast <int>(plan.team))
  {
#pragma omp for schedule(dynamic)
    for (int64_t i = 0; i < num_groups * plan.num_chunks; ++i)
      run_task(a, plan.task(a, i), Scratch(memory + omp_get_thread_num() * scratch_size, a));
    if (plan.shares) {
#pragma omp for
      for (int64_t i = 0; i < num_groups * a.heads_per_group(); ++i)
        add_shares(a, plan, i / a.heads_per_group(), i % a.heads_per_group());
    }
  }
}

}  // namespace

void attention_backward(Stream& stream, const AttentionBackward& args) {
  with_storage(args.q.dtype(), [&]<typename T>(T) { backward<T>(stream, args); });
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
