// As in Goto & van de Geijn 2008, with the operands' roles for wide vectors: a block of b lies
// packed in the second cache, and panels of kTileRows rows of a go over it, tile by tile. A panel
// is read where it lies if its rows are dense, else packed while the panel before it is multiplied.
// All that is not arithmetic is spread over the tiles, a little per segment: many misses at once
// would hold up b on its way to the first cache.
#include "kernels/cpu/gemm.h"

#include <type_traits>
#include <utility>

#include "kernels/cpu/tile.h"
#include "kernels/functors/storage.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

constexpr int64_t kMaxDepth = 256;        // of a block of b
constexpr int64_t kMaxCols = 16 * kTile;  // 512 KiB with AVX-512, 256 KiB without
constexpr int64_t kLine = 16;             // floats
constexpr int64_t kPanelSize = kMaxDepth * kTileRows;

int64_t round_up(int64_t count, int64_t unit) {
  return num_parts(count, unit) * unit;
}

// [0, count) in parts of about the same size, all but the last a multiple of `unit`.
struct Cut {
  int64_t count, unit, parts;
  int64_t begin(int64_t part) const {
    return min_of(count, num_parts(count, unit) * part / parts * unit);
  }
  int64_t size(int64_t part) const { return begin(part + 1) - begin(part); }
};

// Rows [row, row + rows) and terms [k, k + depth) of a.
struct Panel {
  int64_t row = 0, rows = 0, k = 0, depth = 0;
};

// Panels whose rows are dense are read where they lie; the next one is fetched into the second
// cache.
class PanelsInPlace {
 public:
  PanelsInPlace(const Matrix<float>& a, float*) : a_(a) {}

  void begin(const Panel&) {}
  LeftOperand operator[](const Panel& panel) const {
    return {a_.data + panel.row * a_.row + panel.k, a_.row, 1};
  }

  class Next {
   public:
    Next(const PanelsInPlace& panels, const Panel& panel, int64_t num_tiles, int64_t)
        : data_(panels[panel].data),
          row_(panels.a_.row),
          lines_(num_parts(panel.depth, num_tiles * kLine)) {}
    NEMO_INLINE void segment(int s) {
      for (int64_t l = 0; l < lines_; ++l)
        __builtin_prefetch(data_ + s * row_ + l * kLine, 0, /*second cache*/ 2);
    }
    NEMO_INLINE void end_of_tile() { data_ += lines_ * kLine; }

   private:
    const float* data_;
    int64_t row_, lines_;
  };
  void swap() {}

 private:
  Matrix<float> a_;
};

// Panels whose columns are dense are packed, depth x kTileRows.
template <typename T>
class PackedPanels {
 public:
  PackedPanels(const Matrix<T>& a, float* scratch)
      : a_(a), current_(scratch), next_(scratch + kPanelSize) {}

  void begin(const Panel& panel) {
    Next(*this, panel, 1, 1).segment(0);
    swap();
  }
  LeftOperand operator[](const Panel&) const { return {current_, 1, kTileRows}; }

  class Next {
   public:
    Next(const PackedPanels& panels, const Panel& panel, int64_t num_tiles, int64_t num_segments)
        : data_(panels.a_.data + panel.row + panel.k * panels.a_.col),
          col_(panels.a_.col),
          panel_(panel),
          share_(num_parts(panel.depth, num_tiles * num_segments)),
          to_(panels.next_) {}
    NEMO_INLINE void segment(int) {
      const int64_t end = min_of(k_ + share_, panel_.depth);
      for (; k_ < end; ++k_) {
        fetch(k_ + kAhead);
        pack(data_ + k_ * col_, to_ + k_ * kTileRows);
      }
    }
    NEMO_INLINE void end_of_tile() {}

   private:
    // Rows of memory that no hardware sees coming; few, because a power of two between them would
    // drive them out of the cache again.
    static constexpr int64_t kAhead = 8;
    NEMO_INLINE void fetch(int64_t k) const {
      const T* run =
          k < panel_.depth ? data_ + k * col_ : data_ + kTileRows + (k - panel_.depth) * col_;
      __builtin_prefetch(run);
      __builtin_prefetch(run + kTileRows - 1);
    }
    NEMO_INLINE void pack(const T* from, float* to) const {
      if (panel_.rows == kTileRows)
#pragma omp simd
        for (int i = 0; i < kTileRows; ++i) to[i] = load(from + i);
      else
        for (int64_t i = 0; i < panel_.rows; ++i) to[i] = load(from + i);
    }

    const T* data_;
    int64_t col_;
    Panel panel_;
    int64_t share_, k_ = 0;
    float* to_;
  };
  void swap() {
    std::swap(current_, next_);
  }

 private:
  Matrix<T> a_;
  float *current_, *next_;
};

// A block of b as panels of kTile columns, each depth x kTile; zeros beyond the last column.
template <typename T>
void pack_right(const Matrix<T>& b, int64_t depth, int64_t cols, float* to) {
  const int64_t whole = cols / kTile * kTile;
  if (whole < cols)
    for (int64_t i = 0; i < depth * kTile; ++i) to[whole * depth + i] = 0;
  if (b.col != 1) {
    for (int64_t j = 0; j < cols; j += kTile)
      copy_transposed(b.data + j * b.col, b.col, min_of(kTile, cols - j), depth, 1, to + j * depth,
                      kTile);
    return;
  }
  for (int64_t k = 0; k < depth; ++k) {
    const T* row = b.data + k * b.row;
    float* run = to + k * kTile;
    for (int64_t j = 0; j < whole; j += kTile)
#pragma omp simd
      for (int lane = 0; lane < kTile; ++lane) run[j * depth + lane] = load(row + j + lane);
    for (int64_t j = whole; j < cols; ++j) run[whole * depth + j - whole] = load(row + j);
  }
}

// A block of b as panels of kTile columns: rows `row` apart, panels `panel` apart.
struct RightBlock {
  const float* data;
  int64_t row, panel;
};

// Few rows of a are not worth the packing of b.
bool is_worth_packing(const Matrix<float>& b, int64_t m, int64_t cols) {
  constexpr int64_t kMinRows = 64;
  return m >= kMinRows || b.col != 1 || cols % kTile != 0;
}

// What lies in 16 bits is always packed.
template <typename T>
RightBlock right_block(const Matrix<T>& b, int64_t m, int64_t depth, int64_t cols, float* packed) {
  if constexpr (std::is_same_v<T, float>)
    if (!is_worth_packing(b, m, cols)) return {b.data, b.row, kTile};
  pack_right(b, depth, cols, packed);
  return {packed, kTile, depth * kTile};
}

// Brings a block of b into the second cache, some lines per segment.
class Fetch {
 public:
  template <typename T>
  Fetch(const Matrix<T>& b, int64_t depth, int64_t cols, int64_t num_segments)
      : run_(reinterpret_cast<const char*>(b.data)),
        stride_((b.col == 1 ? b.row : b.col) * static_cast<int64_t>(sizeof(T))),
        lines_(num_parts((b.col == 1 ? cols : depth) * static_cast<int64_t>(sizeof(T)), kBytes)),
        left_(lines_ * (b.col == 1 ? depth : cols)),
        share_(num_parts(left_, num_segments)) {}

  NEMO_INLINE void segment() {
    const int64_t share = min_of(share_, left_);
    left_ -= share;
    for (int64_t i = 0; i < share; ++i) {
      __builtin_prefetch(run_ + line_ * kBytes, 0, /*second cache*/ 2);
      if (++line_ == lines_) line_ = 0, run_ += stride_;
    }
  }

 private:
  static constexpr int64_t kBytes = 64;
  const char* run_;
  int64_t stride_, lines_, left_, share_, line_ = 0;
};

// Where a row of tiles goes: c = sums + addend, for `cols` columns.
struct Output {
  float* c;
  int64_t c_row;
  const float* addend;
  int64_t addend_row, cols;
};

template <int kRows>
NEMO_INLINE void store_tile(const Vector (&sum)[kRows][2], const Output& out, int64_t j) {
  const float* addend = out.addend + j;
  float* c = out.c + j;
#pragma GCC unroll 12
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      Vector x = sum[i][half];
      if (out.addend) x += load_vector(addend + i * out.addend_row + half * kLanes);
      store_vector(x, c + i * out.c_row + half * kLanes);
    }
}

// The same where the columns end within the tile.
template <int kRows>
void store_last_tile(const Vector (&sum)[kRows][2], const Output& out, int64_t j) {
  for (int i = 0; i < kRows; ++i) {
    float row[kTile];
    store_vector(sum[i][0], row);
    store_vector(sum[i][1], row + kLanes);
    for (int64_t lane = 0; j + lane < out.cols; ++lane) {
      const int64_t col = j + lane;
      out.c[i * out.c_row + col] =
          out.addend ? row[lane] + out.addend[i * out.addend_row + col] : row[lane];
    }
  }
}

// What is fetched and packed during a tile: the lines it goes to, a share of what comes next.
template <typename Next>
struct Meanwhile {
  static constexpr bool kSpread = true;
  const float* c;
  int64_t c_row;
  Next& next;
  Fetch& next_b;

  NEMO_INLINE void operator()(int i) const {
    __builtin_prefetch(c + i * c_row, /*to write*/ 1);
    __builtin_prefetch(c + i * c_row + kTile - 1, 1);
    next.segment(i);
    next_b.segment();
  }
};

// One panel of a against a block of b.
template <int kRows, typename Next>
[[gnu::noinline]] void multiply_panel(int64_t rows, LeftOperand a, RightBlock b, int64_t depth,
                                      const Output& out, Next next, Fetch& next_b) {
  if constexpr (kRows > 1)
    if (rows < kRows) return multiply_panel<kRows - 1>(rows, a, b, depth, out, next, next_b);
  for (int64_t j = 0; j < out.cols; j += kTile, b.data += b.panel) {
    Vector sum[kRows][2];
#pragma GCC unroll 12
    for (int i = 0; i < kRows; ++i) sum[i][0] = sum[i][1] = Vector{};
    const float* c = out.c + j;
    add_products(a, {b.data, b.row}, depth, Meanwhile<Next>{c, out.c_row, next, next_b}, sum);
    next.end_of_tile();
    if (j + kTile <= out.cols)
      store_tile(sum, out, j);
    else
      store_last_tile(sum, out, j);
  }
}

template <typename Panels, typename A, typename B>
void multiply_blocks(const Product<A, B>& p, Panels panels, float* packed_b) {
  const Cut cols = {p.n, kTile, num_parts(p.n, kMaxCols)};
  const Cut terms = {p.k, 1, max_of(1, num_parts(p.k, kMaxDepth))};
  const auto panel_at = [&](int64_t row, int64_t part) {
    return Panel{row, min_of(kTileRows, p.m - row), terms.begin(part), terms.size(part)};
  };
  // After the last panel comes the first of the next block; after the very last, nothing.
  const auto panel_after = [&](int64_t row, int64_t part, bool last_cols) {
    if (row + kTileRows < p.m) return panel_at(row + kTileRows, part);
    if (part + 1 < terms.parts) return panel_at(0, part + 1);
    return last_cols ? Panel{} : panel_at(0, 0);
  };
  const auto block_at = [&](int64_t part, int64_t c) {
    return Matrix<B>{p.b.data + terms.begin(part) * p.b.row + cols.begin(c) * p.b.col, p.b.row,
                     p.b.col};
  };
  panels.begin(panel_at(0, 0));
  for (int64_t c = 0; c < cols.parts; ++c)
    for (int64_t part = 0; part < terms.parts; ++part) {
      const int64_t first = cols.begin(c), num_cols = cols.size(c), depth = terms.size(part);
      const Matrix<B> block = block_at(part, c);
      const RightBlock b = right_block(block, p.m, depth, num_cols, packed_b);
      const bool last_part = part + 1 == terms.parts, last_cols = c + 1 == cols.parts;
      const int64_t next_part = last_part ? 0 : part + 1, next_c = last_part ? c + 1 : c;
      const bool last = last_part && last_cols;
      Fetch next_b(block_at(next_part, next_c), last ? 0 : terms.size(next_part),
                   last ? 0 : cols.size(next_c), p.m * num_parts(num_cols, kTile));
      for (int64_t row = 0; row < p.m; row += kTileRows) {
        const Panel panel = panel_at(row, part);
        Output out = {p.c + row * p.c_row + first, p.c_row, nullptr, 0, num_cols};
        if (part > 0)
          out.addend = out.c, out.addend_row = p.c_row;
        else if (p.addend)
          out.addend = p.addend + row * p.addend_row + first, out.addend_row = p.addend_row;
        const typename Panels::Next next(panels, panel_after(row, part, last_cols),
                                         num_parts(num_cols, kTile), panel.rows);
        multiply_panel<kTileRows>(panel.rows, panels[panel], b, depth, out, next, next_b);
        panels.swap();
      }
    }
}

// How a product is cut among threads: rows x cols blocks.
struct Grid {
  int64_t rows, cols;
};

// Each thread packs its columns of b, as dear as about kPack rows, and reads its rows of a, as dear
// as about kPack columns.
Grid grid_for(int64_t m, int64_t n, int64_t team) {
  constexpr int64_t kPack = 16;
  const auto cost = [&](int64_t rows) {
    return (round_up(num_parts(m, rows), kTileRows) + kPack) *
           (round_up(num_parts(n, team / rows), kTile) + kPack);
  };
  int64_t best = 1;
  for (int64_t rows = 2; rows <= team; ++rows)
    if (team % rows == 0 && cost(rows) < cost(best)) best = rows;
  return {best, team / best};
}

// A team is woken only for work that takes longer than waking it.
int64_t team_for(const Stream& stream, int64_t multiply_adds) {
  constexpr int64_t kMinPerThread = 1 << 20;
  return max_of(1, min_of(stream.num_threads(), multiply_adds / kMinPerThread));
}

}  // namespace

int64_t gemm_scratch_size(int64_t n, int64_t k) {
  return 2 * kPanelSize + min_of(k, kMaxDepth) * min_of(round_up(n, kTile), kMaxCols);
}

template <typename A, typename B>
void gemm_block(const Product<A, B>& product, float* scratch) {
  if (product.m == 0 || product.n == 0) return;
  float* packed_b = scratch + 2 * kPanelSize;
  if constexpr (std::is_same_v<A, float>)
    if (product.a.col == 1)
      return multiply_blocks(product, PanelsInPlace(product.a, scratch), packed_b);
  multiply_blocks(product, PackedPanels<A>(product.a, scratch), packed_b);
}

template <typename A, typename B>
void gemm(Stream& stream, const Product<A, B>& product) {
  const int64_t team = team_for(stream, product.m * product.n * product.k);
  const Grid grid = grid_for(product.m, product.n, team);
  const Cut rows = {product.m, kTileRows, grid.rows}, cols = {product.n, kTile, grid.cols};
  const int64_t most_cols = num_parts(num_parts(product.n, kTile), grid.cols) * kTile;
  const int64_t scratch_size = gemm_scratch_size(most_cols, product.k);
  const Tensor scratch = stream.workspace(DType::kF32, {team, scratch_size}, "gemm");
  if (stream.recording()) return;
  float* memory = static_cast<float*>(scratch.raw());
#pragma omp parallel for num_threads(static_cast <int>(team)) schedule(static, 1)
  for (int64_t i = 0; i < team; ++i) {
    const int64_t r = i / grid.cols, c = i % grid.cols;
    gemm_block(product.block(rows.begin(r), rows.size(r), cols.begin(c), cols.size(c)),
               memory + i * scratch_size);
  }
}

template void gemm_block(const Product<float, float>&, float*);
template void gemm(Stream&, const Product<float, float>&);
template void gemm(Stream&, const Product<float, BFloat16>&);
template void gemm(Stream&, const Product<float, Float16>&);
template void gemm(Stream&, const Product<BFloat16, BFloat16>&);
template void gemm(Stream&, const Product<Float16, Float16>&);

}  // namespace nemo::kernels::NEMO_CPU_ISA
