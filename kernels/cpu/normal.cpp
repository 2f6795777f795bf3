#include "kernels/normal.h"

#include "kernels/cpu/philox.h"
#include "kernels/cpu/team.h"
#include "kernels/functors/normal.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

// Elements that are drawn together, four of each counter.
constexpr int64_t kGroup = 4 * kPhiloxCounters;

struct Generator {
  uint64_t seed, name_hash;
  float std;

  // Elements [kGroup * group, kGroup * group + kGroup) of the stream.
  void draw(uint64_t group, float* out) const {
    const PhiloxWords random = philox_words(seed, group * kPhiloxCounters, name_hash);
#pragma omp simd
    for (int64_t i = 0; i < kPhiloxCounters; ++i) {
      const functors::NormalPair first = functors::box_muller(random.word[0][i], random.word[1][i]);
      const functors::NormalPair second =
          functors::box_muller(random.word[2][i], random.word[3][i]);
      out[4 * i] = std * first.cosine;
      out[4 * i + 1] = std * first.sine;
      out[4 * i + 2] = std * second.cosine;
      out[4 * i + 3] = std * second.sine;
    }
  }

  // Elements [index, index + n) of the stream.
  void fill(int64_t index, int64_t n, float* out) const {
    for (int64_t done = 0; done < n;) {
      const int64_t offset = (index + done) % kGroup;
      const uint64_t group = static_cast<uint64_t>((index + done) / kGroup);
      const int64_t count = kGroup - offset < n - done ? kGroup - offset : n - done;
      if (count == kGroup) {
        draw(group, out + done);
      } else {
        float part[kGroup];
        draw(group, part);
        __builtin_memcpy(out + done, part + offset, static_cast<size_t>(count) * sizeof(float));
      }
      done += count;
    }
  }
};

}  // namespace

void fill_normal(Stream& stream, const NormalSlice& slice, const Tensor& out) {
  constexpr int64_t kBytesPerElement = 64;  // what could be moved in the time one takes to draw
  const Generator generator = {slice.seed, slice.name_hash, slice.std};
  const int64_t num_cols = out.size(1), stride = out.stride(0);
  const bool one_run = num_cols == slice.row_length && out.is_contiguous();
  float* data = out.data<float>();
  parallel_pieces(
      stream, out.numel(), kGroup, kBytesPerElement * out.numel(), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end;) {
          const int64_t row = i / num_cols, col = i % num_cols;
          const int64_t left = end - i;
          const int64_t n = one_run || left < num_cols - col ? left : num_cols - col;
          generator.fill((slice.first_row + row) * slice.row_length + slice.first_col + col, n,
                         data + row * stride + col);
          i += n;
        }
      });
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
