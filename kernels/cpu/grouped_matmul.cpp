#include "kernels/grouped_matmul.h"

#include <new>

#include "kernels/onednn.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

// One expert's product, or a tile of it.
struct Product {
  MatrixProduct shape;
  const float *a, *b;
  float* c;
};

// Rows or columns cut into parts of about the same size, at most kTile, at whole vectors. A tile is
// a task: large enough for the library, small enough to even out experts of different sizes.
struct Cut {
  static constexpr int64_t kTile = 512, kVector = 16;
  int64_t n;

  int64_t num_parts() const { return (n + kTile - 1) / kTile; }
  int64_t begin(int64_t part) const {
    return part == num_parts() ? n : n * part / num_parts() / kVector * kVector;
  }
};

Product tile_of(const Product& whole, int64_t row_part, int64_t col_part) {
  const Cut rows{whole.shape.m}, cols{whole.shape.n};
  const int64_t row = rows.begin(row_part), col = cols.begin(col_part);
  Product tile = whole;
  tile.shape.m = rows.begin(row_part + 1) - row;
  tile.shape.n = cols.begin(col_part + 1) - col;
  tile.a += row * whole.shape.a.row;
  tile.b += col * whole.shape.b.col;
  tile.c += row * whole.shape.c.row + col;
  return tile;
}

// False where the library found no memory.
bool compute(const Product& tile) {
  const auto& [m, n, k, a, b, c, has_bias, accumulate] = tile.shape;
  if (k > 0) return run_sgemm(tile.shape, tile.a, tile.b, tile.c);
  for (int64_t i = 0; i < m && !accumulate; ++i)
    for (int64_t j = 0; j < n; ++j) tile.c[i * c.row + j] = 0;
  return true;
}

// product_of(e): the whole product of expert e. Each tile is computed by one thread, and so are its
// bits; threads go on to the next expert's without waiting.
template <typename ProductOf>
void compute_all(const Stream& stream, int64_t num_experts, const ProductOf& product_of) {
  bool failed = false;
#pragma omp parallel num_threads(stream.num_threads()) reduction(|| : failed)
  for (int64_t e = 0; e < num_experts; ++e) {
    const Product whole = product_of(e);
    const int64_t num_cols = Cut{whole.shape.n}.num_parts();
    const int64_t num_tiles = Cut{whole.shape.m}.num_parts() * num_cols;
#pragma omp for schedule(dynamic) nowait
    for (int64_t i = 0; i < num_tiles; ++i)
      failed = !compute(tile_of(whole, i / num_cols, i % num_cols)) || failed;
  }
  if (failed) throw std::bad_alloc();
}

int64_t num_experts(std::span<const int64_t> offsets) {
  return static_cast<int64_t>(offsets.size()) - 1;
}

}  // namespace

void grouped_matmul_forward(Stream& stream, const Tensor& x, const Tensor& w,
                            std::span<const int64_t> offsets, const Tensor& y) {
  const int64_t in = x.size(1), out = y.size(1);
  compute_all(stream, num_experts(offsets),
              [=, x = x.data<float>(), w = w.data<float>(), y = y.data<float>()](int64_t e) {
                const int64_t first = offsets[e], rows = offsets[e + 1] - first;
                return Product{{rows, out, in, {in, 1}, {1, in}, {out, 1}, false, false},
                               x + first * in,
                               w + e * out * in,
                               y + first * out};
              });
}

void grouped_matmul_backward_input(Stream& stream, const Tensor& dy, const Tensor& w,
                                   std::span<const int64_t> offsets, const Tensor& dx) {
  const int64_t in = dx.size(1), out = dy.size(1);
  compute_all(stream, num_experts(offsets),
              [=, dy = dy.data<float>(), w = w.data<float>(), dx = dx.data<float>()](int64_t e) {
                const int64_t first = offsets[e], rows = offsets[e + 1] - first;
                return Product{{rows, in, out, {out, 1}, {in, 1}, {in, 1}, false, false},
                               dy + first * out,
                               w + e * out * in,
                               dx + first * in};
              });
}

void grouped_matmul_backward_weight(Stream& stream, const Tensor& dy, const Tensor& x,
                                    std::span<const int64_t> offsets, const Tensor& dw,
                                    bool accumulate) {
  const int64_t in = x.size(1), out = dy.size(1);
  compute_all(stream, num_experts(offsets),
              [=, dy = dy.data<float>(), x = x.data<float>(), dw = dw.data<float>()](int64_t e) {
                const int64_t first = offsets[e], rows = offsets[e + 1] - first;
                return Product{{out, in, rows, {1, out}, {in, 1}, {in, 1}, false, accumulate},
                               dy + first * out,
                               x + first * in,
                               dw + e * out * in};
              });
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
