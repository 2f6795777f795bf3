#include "kernels/attention_merge.h"

#include "kernels/cpu/attention_heads.h"
#include "kernels/cpu/team.h"
#include "kernels/functors/exp.h"
#include "kernels/functors/log.h"
#include "kernels/functors/storage.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

constexpr float kInfinity = __builtin_inff();

struct Share {
  float kept, added, lse;
};

// Neither set need have keys.
Share share_of(float lse, float part_lse) {
  if (part_lse == -kInfinity) return {1, 0, lse};
  if (lse == -kInfinity) return {0, 1, part_lse};
  const float max = lse > part_lse ? lse : part_lse;
  const float kept = functors::exp(lse - max), added = functors::exp(part_lse - max);
  const float sum = kept + added;
  return {kept / sum, added / sum, max + functors::log(sum)};
}

template <typename T>
void merge(Stream& stream, const Tensor& part_o, const Tensor& part_lse, const Tensor& o,
           const Tensor& lse) {
  const int64_t seq = o.size(1), num_heads = o.size(2), head_dim = o.size(3);
  const Heads<T> whole(o), part(part_o);
  const Statistics whole_lse(lse), of_part(part_lse);
  const auto merge_token = [&](int64_t b, int64_t s) {
    for (int64_t h = 0; h < num_heads; ++h) {
      float& row_lse = whole_lse.at(b, h)[s];
      const Share share = share_of(row_lse, of_part.at(b, h)[s]);
      row_lse = share.lse;
      T* y = whole.at(b, s, h);
      const T* x = part.at(b, s, h);
#pragma omp simd
      for (int64_t i = 0; i < head_dim; ++i)
        store(share.kept * load(y + i) + share.added * load(x + i), y + i);
    }
  };
  parallel_pieces(stream, o.size(0) * seq, 1, 3 * o.bytes(), [&](int64_t begin, int64_t end) {
    for (int64_t token = begin; token < end; ++token) merge_token(token / seq, token % seq);
  });
}

}  // namespace

void attention_merge(Stream& stream, const Tensor& part_o, const Tensor& part_lse, const Tensor& o,
                     const Tensor& lse) {
  with_storage(o.dtype(), [&]<typename T>(T) { merge<T>(stream, part_o, part_lse, o, lse); });
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
