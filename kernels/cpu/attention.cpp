// Attention forward; backward is attention_backward.cpp.
// Every product has the queries in the lanes of vectors: s^T = k q^T, o^T = v^T p^T. So the softmax
// needs no reduction across lanes, keys and values are read as they are, and only q and o are
// transposed, once.
#include <omp.h>

#include "kernels/attention.h"
#include "kernels/cpu/attention_heads.h"
#include "kernels/functors/exp.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

constexpr int64_t kBlockKeys = 96;  // a multiple of kTileRows for either instruction set
constexpr int64_t kTilesPerTask = 128 / kTile;
constexpr float kInfinity = __builtin_inff();
constexpr float kLn2 = 0x1.62e430p-1f;

// A tile is kTile queries of one head. The tiles of a kv group are numbered query-major, so that
// the tiles of a task use the same keys, whichever of the group's heads they belong to.
template <typename T>
struct Forward {
  Heads<T> q, k, v, o;
  Statistics lse;
  int64_t batch, num_queries, num_keys, num_heads, num_groups, head_dim;
  bool causal;
  float scale;

  int64_t heads_per_group() const { return num_heads / num_groups; }
  int64_t tiles_per_group() const { return heads_per_group() * num_parts(num_queries, kTile); }
  int64_t tasks_per_group() const { return num_parts(tiles_per_group(), kTilesPerTask); }
  // Keys that a tile sees.
  int64_t visible_keys(int64_t tile) const {
    return causal ? min_of(num_keys, first_query(tile) + kTile) : num_keys;
  }
  int64_t first_query(int64_t tile) const { return tile / heads_per_group() * kTile; }
};

// Of one tile: q^T scaled to base-2 logarithms, o^T and the running maximum and sum of its queries.
struct TileState {
  float *q, *o, *max, *sum;
};

// Of one thread.
struct Scratch {
  float *keys, *values, *scores;
  TileState tile[kTilesPerTask];

  static int64_t size(int64_t d) {
    return 2 * kBlockKeys * d + kBlockKeys * kTile + kTilesPerTask * (2 * d + 2) * kTile;
  }
  Scratch(float* memory, int64_t d) {
    scores = memory;
    for (float* next = memory + kBlockKeys * kTile; TileState & t : tile) {
      t = {next, next + d * kTile, next + 2 * d * kTile, next + (2 * d + 1) * kTile};
      next += (2 * d + 2) * kTile;
    }
    keys = tile[kTilesPerTask - 1].sum + kTile;
    values = keys + kBlockKeys * d;
  }
};

// scores[key, lane] = -infinity where the key lies behind the lane's query.
void mask_scores(int64_t first_key, int64_t num_keys, int64_t first_query, float* scores) {
  for (int64_t i = max_of(0, first_query + 1 - first_key); i < num_keys; ++i) {
    const int64_t num_masked = min_of(kTile, first_key + i - first_query);
    for (int64_t lane = 0; lane < num_masked; ++lane) scores[i * kTile + lane] = -kInfinity;
  }
}

// The largest score of every lane, and of max.
void update_max(int64_t num_keys, const float* scores, float* max) {
  Vector low = load_vector(max), high = load_vector(max + kLanes);
  for (int64_t i = 0; i < num_keys; ++i, scores += kTile) {
    const Vector a = load_vector(scores), b = load_vector(scores + kLanes);
    low = a > low ? a : low;
    high = b > high ? b : high;
  }
  store_vector(low, max);
  store_vector(high, max + kLanes);
}

// x[i, lane] *= factor[lane].
void scale_lanes(int64_t rows, const float* factor, float* x) {
  for (int64_t i = 0; i < rows; ++i)
#pragma omp simd
    for (int lane = 0; lane < kTile; ++lane) x[i * kTile + lane] *= factor[lane];
}

// scores <- exp2(scores - max) with the new maximum; sum and o follow it.
void update_softmax(int64_t num_keys, int64_t d, float* scores, const TileState& tile) {
  float max[kTile], rescale[kTile], sum[kTile];
  for (int lane = 0; lane < kTile; ++lane) max[lane] = tile.max[lane];
  update_max(num_keys, scores, max);
  bool moved = false;
#pragma omp simd reduction(| : moved)
  for (int lane = 0; lane < kTile; ++lane) {
    rescale[lane] = functors::exp2(tile.max[lane] - max[lane]);
    moved |= max[lane] != tile.max[lane];
    sum[lane] = tile.sum[lane] * rescale[lane];
  }
  for (int lane = 0; lane < kTile; ++lane) tile.max[lane] = max[lane];
  for (int64_t i = 0; i < num_keys; ++i)
#pragma omp simd
    for (int lane = 0; lane < kTile; ++lane) {
      const float p = functors::exp2(scores[i * kTile + lane] - max[lane]);
      scores[i * kTile + lane] = p;
      sum[lane] += p;
    }
  for (int lane = 0; lane < kTile; ++lane) tile.sum[lane] = sum[lane];
  if (moved) scale_lanes(d, rescale, tile.o);
}

template <typename T>
void begin_tile(const Forward<T>& f, const T* q, int64_t rows, const TileState& tile) {
  const int64_t d = f.head_dim;
  for (int64_t i = 0; i < d * kTile; ++i) tile.q[i] = tile.o[i] = 0;
  for (int lane = 0; lane < kTile; ++lane) tile.max[lane] = -kInfinity, tile.sum[lane] = 0;
  copy_transposed(q, f.q.row, rows, d, f.scale * kLog2E, tile.q, kTile);
}

template <typename T>
void finish_tile(const Forward<T>& f, const TileState& tile, int64_t rows, T* o, float* lse) {
  float inverse_sum[kTile];
  for (int lane = 0; lane < kTile; ++lane) inverse_sum[lane] = 1 / tile.sum[lane];
  scale_lanes(f.head_dim, inverse_sum, tile.o);
  copy_transposed(tile.o, kTile, f.head_dim, rows, 1, o, f.o.row);
  for (int64_t lane = 0; lane < rows; ++lane)
    lse[lane] = tile.max[lane] * kLn2 + __builtin_logf(tile.sum[lane]);
}

template <typename T>
void run_task(const Forward<T>& f, int64_t b, int64_t g, int64_t first_tile, int64_t end_tile,
              const Scratch& scratch) {
  const int64_t d = f.head_dim, share = f.heads_per_group();
  auto head_of = [&](int64_t tile) { return g * share + tile % share; };
  auto rows_of = [&](int64_t tile) { return min_of(kTile, f.num_queries - f.first_query(tile)); };
  for (int64_t t = first_tile; t < end_tile; ++t)
    begin_tile(f, f.q.at(b, f.first_query(t), head_of(t)), rows_of(t),
               scratch.tile[t - first_tile]);

  const int64_t end_key = f.visible_keys(end_tile - 1);
  for (int64_t first_key = 0; first_key < end_key; first_key += kBlockKeys) {
    const int64_t block = min_of(kBlockKeys, end_key - first_key);
    copy_rows(f.k.at(b, first_key, g), f.k.row, block, d, 1, scratch.keys, d);
    copy_rows(f.v.at(b, first_key, g), f.v.row, block, d, 1, scratch.values, d);
    for (int64_t t = first_tile; t < end_tile; ++t) {
      const TileState& tile = scratch.tile[t - first_tile];
      const int64_t keys = min_of(block, f.visible_keys(t) - first_key);
      if (keys <= 0) continue;
      multiply<false>(keys, {scratch.keys, d, 1}, {tile.q, kTile}, d, scratch.scores, kTile);
      if (f.causal) mask_scores(first_key, keys, f.first_query(t), scratch.scores);
      update_softmax(keys, d, scratch.scores, tile);
      multiply<true>(d, {scratch.values, 1, d}, {scratch.scores, kTile}, keys, tile.o, kTile);
    }
  }

  for (int64_t t = first_tile; t < end_tile; ++t)
    finish_tile(f, scratch.tile[t - first_tile], rows_of(t),
                f.o.at(b, f.first_query(t), head_of(t)),
                f.lse.at(b, head_of(t)) + f.first_query(t));
}

// No key to attend to: o is an empty sum.
template <typename T>
void forward_without_keys(const Forward<T>& f) {
  for (int64_t b = 0; b < f.batch; ++b)
    for (int64_t h = 0; h < f.num_heads; ++h)
      for (int64_t s = 0; s < f.num_queries; ++s) {
        for (int64_t i = 0; i < f.head_dim; ++i) f.o.at(b, s, h)[i] = T();
        f.lse.at(b, h)[s] = -kInfinity;
      }
}

template <typename T>
void forward(Stream& stream, const Tensor& q, const Tensor& k, const Tensor& v, AttentionMask mask,
             float scale, const Tensor& o, const Tensor& lse) {
  const Forward<T> f = {.q = Heads<T>(q),
                        .k = Heads<T>(k),
                        .v = Heads<T>(v),
                        .o = Heads<T>(o),
                        .lse = Statistics(lse),
                        .batch = q.size(0),
                        .num_queries = q.size(1),
                        .num_keys = k.size(1),
                        .num_heads = q.size(2),
                        .num_groups = k.size(2),
                        .head_dim = q.size(3),
                        .causal = mask == AttentionMask::kCausal,
                        .scale = scale};
  if (f.num_keys == 0) return stream.recording() ? void() : forward_without_keys(f);
  const int team = attention_team(stream, 2 * q.numel() * f.num_keys / (f.causal ? 2 : 1));
  const int64_t scratch_size = Scratch::size(f.head_dim);
  const Tensor scratch = stream.workspace(DType::kF32, {team, scratch_size}, "attention_forward");
  if (stream.recording()) return;
  float* memory = static_cast<float*>(scratch.raw());
  const int64_t num_tasks = f.batch * f.num_groups * f.tasks_per_group();
#pragma omp parallel for schedule(dynamic) num_threads(team)
  for (int64_t i = 0; i < num_tasks; ++i) {
    // Group by group, for the keys to stay in cache; the last queries first, because under a causal
    // mask they are the longest tasks.
    const int64_t group = i / f.tasks_per_group();
    const int64_t first = (f.tasks_per_group() - 1 - i % f.tasks_per_group()) * kTilesPerTask;
    run_task(f, group / f.num_groups, group % f.num_groups, first,
             min_of(first + kTilesPerTask, f.tiles_per_group()),
             Scratch(memory + omp_get_thread_num() * scratch_size, f.head_dim));
  }
}

}  // namespace

void attention_forward(Stream& stream, const Tensor& q, const Tensor& k, const Tensor& v,
                       AttentionMask mask, float scale, const Tensor& o, const Tensor& lse) {
  with_storage(q.dtype(), [&]<typename T>(T) { forward<T>(stream, q, k, v, mask, scale, o, lse); });
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
