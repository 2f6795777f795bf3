#include "kernels/grouped_matmul.h"

#include <omp.h>

#include "kernels/cpu/gemm.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

using ExpertProduct = Product<float, float>;

// Rows or columns cut into parts of about the same size, at most kTile, at whole vectors. A tile is
// a task: large enough to be worth its packing, small enough to even out experts of different
// sizes.
struct Cut {
  static constexpr int64_t kTile = 512, kVector = 16;
  int64_t n;

  int64_t num_parts() const { return (n + kTile - 1) / kTile; }
  int64_t begin(int64_t part) const {
    return part == num_parts() ? n : n * part / num_parts() / kVector * kVector;
  }
  int64_t size(int64_t part) const { return begin(part + 1) - begin(part); }
};

// product_of(e): the whole product of expert e, with n columns and most_terms terms at most. Each
// tile is computed by one thread; threads go on to the next expert's without waiting.
template <typename ProductOf>
void compute_all(Stream& stream, int64_t num_experts, int64_t n, int64_t most_terms,
                 const ProductOf& product_of) {
  const int64_t scratch_size = gemm_scratch_size(n, most_terms);
  const Tensor scratch =
      stream.workspace(DType::kF32, {stream.num_threads(), scratch_size}, "grouped_matmul");
  if (stream.recording()) return;
#pragma omp parallel num_threads(stream.num_threads())
  {
    float* memory = static_cast<float*>(scratch.raw()) + omp_get_thread_num() * scratch_size;
    for (int64_t e = 0; e < num_experts; ++e) {
      const ExpertProduct whole = product_of(e);
      const Cut rows{whole.m}, cols{whole.n};
      const int64_t num_cols = cols.num_parts();
#pragma omp for schedule(dynamic) nowait
      for (int64_t i = 0; i < rows.num_parts() * num_cols; ++i) {
        const int64_t row = i / num_cols, col = i % num_cols;
        gemm_block(whole.block(rows.begin(row), rows.size(row), cols.begin(col), cols.size(col)),
                   memory);
      }
    }
  }
}

int64_t num_experts(std::span<const int64_t> offsets) {
  return static_cast<int64_t>(offsets.size()) - 1;
}

}  // namespace

void grouped_matmul_forward(Stream& stream, const Tensor& x, const Tensor& w,
                            std::span<const int64_t> offsets, const Tensor& y) {
  const int64_t in = x.size(1), out = y.size(1);
  compute_all(
      stream, num_experts(offsets), out, in,
      [=, x = x.data<float>(), w = w.data<float>(), y = y.data<float>()](int64_t e) {
        const int64_t first = offsets[e], rows = offsets[e + 1] - first;
        return ExpertProduct{
            rows, out, in, {x + first * in, in, 1}, {w + e * out * in, 1, in}, y + first * out,
            out};
      });
}

void grouped_matmul_backward_input(Stream& stream, const Tensor& dy, const Tensor& w,
                                   std::span<const int64_t> offsets, const Tensor& dx) {
  const int64_t in = dx.size(1), out = dy.size(1);
  compute_all(
      stream, num_experts(offsets), in, out,
      [=, dy = dy.data<float>(), w = w.data<float>(), dx = dx.data<float>()](int64_t e) {
        const int64_t first = offsets[e], rows = offsets[e + 1] - first;
        return ExpertProduct{
            rows, in, out, {dy + first * out, out, 1}, {w + e * out * in, in, 1}, dx + first * in,
            in};
      });
}

void grouped_matmul_backward_weight(Stream& stream, const Tensor& dy, const Tensor& x,
                                    std::span<const int64_t> offsets, const Tensor& dw,
                                    bool accumulate) {
  const int64_t in = x.size(1), out = dy.size(1);
  compute_all(stream, num_experts(offsets), in, dy.size(0),
              [=, dy = dy.data<float>(), x = x.data<float>(), dw = dw.data<float>()](int64_t e) {
                const int64_t first = offsets[e], rows = offsets[e + 1] - first;
                float* c = dw + e * out * in;
                return ExpertProduct{out,
                                     in,
                                     rows,
                                     {dy + first * out, 1, out},
                                     {x + first * in, in, 1},
                                     c,
                                     in,
                                     accumulate ? c : nullptr,
                                     in};
              });
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
