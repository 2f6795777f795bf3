#include "kernels/adamw.h"

#include "kernels/cpu/philox.h"
#include "kernels/cpu/team.h"
#include "kernels/functors/storage.h"

namespace nemo::kernels::NEMO_CPU_ISA {
namespace {

constexpr int64_t kGrain = 16;  // elements of a cache line

// A step's constants; the bias corrections need double, for beta^t is close to 1.
struct Constants {
  float beta1, rest1, beta2, rest2, eps, decay, step_size, v_correction, grad_scale;

  explicit Constants(const AdamWStep& s)
      : beta1(s.beta1),
        rest1(static_cast<float>(1 - double{s.beta1})),
        beta2(s.beta2),
        rest2(static_cast<float>(1 - double{s.beta2})),
        eps(s.eps),
        decay(static_cast<float>(1 - double{s.lr} * double{s.weight_decay})),
        step_size(static_cast<float>(double{s.lr} / bias_correction(s.beta1, s.step))),
        v_correction(static_cast<float>(1 / bias_correction(s.beta2, s.step))),
        grad_scale(s.grad_scale) {}

  // 1 - beta^t
  static double bias_correction(float beta, int64_t t) {
    return 1 - __builtin_pow(double{beta}, static_cast<double>(t));
  }
};

// out = p updated; it may be p.
template <typename T>
void update(int64_t n, const Constants& constants, const T* p, const float* grad, float* m,
            float* v, float* out) {
  const Constants c = constants;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float g = grad[i] * c.grad_scale;
    m[i] = c.beta1 * m[i] + c.rest1 * g;
    v[i] = c.beta2 * v[i] + c.rest2 * g * g;
    const float denominator = __builtin_sqrtf(v[i] * c.v_correction) + c.eps;
    out[i] = load(p + i) * c.decay - c.step_size * m[i] / denominator;
  }
}

// Down, or up with the probability of the digits that are lost: adding as many random bits carries
// so often. Infinity and NaN stay.
NEMO_INLINE BFloat16 round_at_random(float x, uint32_t random) {
  const uint32_t bits = __builtin_bit_cast(uint32_t, x);
  const bool finite = (bits & 0x7f800000u) != 0x7f800000u;
  const uint32_t rounded = (bits + (random & 0xffffu)) >> 16;
  return {static_cast<uint16_t>(finite ? rounded : to_bfloat16(x).bits)};
}

// Elements whose random words are drawn together, four of each counter.
constexpr int64_t kGroup = 4 * kPhiloxCounters;

// p = values rounded, of elements that lie within one group from `offset` on.
void round_group(const AdamWStep& step, int64_t group, int64_t offset, int64_t n,
                 const float* values, BFloat16* p) {
  const PhiloxWords random = philox_words(
      step.rounding_key, static_cast<uint64_t>(group * kPhiloxCounters), step.rounding_stream);
  for (int64_t i = 0; i < n; ++i)
    p[i] = round_at_random(values[i], random.word[(offset + i) % 4][(offset + i) / 4]);
}

void update_rounded(int64_t begin, int64_t end, const AdamWStep& step, const Constants& constants,
                    BFloat16* p, const float* grad, float* m, float* v) {
  for (int64_t i = begin; i < end;) {
    const int64_t element = step.first + i, offset = element % kGroup;
    const int64_t n = kGroup - offset < end - i ? kGroup - offset : end - i;
    float values[kGroup];
    update(n, constants, p + i, grad + i, m + i, v + i, values);
    round_group(step, element / kGroup, offset, n, values, p + i);
    i += n;
  }
}

}  // namespace

void adamw(Stream& stream, const AdamWStep& step, const Tensor& param, const Tensor& grad,
           const Tensor& m, const Tensor& v) {
  const Constants constants(step);
  const bool rounded = param.dtype() == DType::kBF16;
  parallel_pieces(stream, param.numel(), kGrain, 6 * grad.bytes() + param.bytes(),
                  [&, g = grad.data<float>(), m = m.data<float>(), v = v.data<float>()](
                      int64_t begin, int64_t end) {
                    if (rounded)
                      return update_rounded(begin, end, step, constants, param.data<BFloat16>(), g,
                                            m, v);
                    float* p = param.data<float>() + begin;
                    update(end - begin, constants, p, g + begin, m + begin, v + begin, p);
                  });
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
