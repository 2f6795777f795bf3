#include "kernels/adamw.h"

#include "kernels/cpu/team.h"

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

void update(int64_t begin, int64_t end, const Constants& constants, float* p, const float* grad,
            float* m, float* v) {
  const Constants c = constants;
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) {
    const float g = grad[i] * c.grad_scale;
    m[i] = c.beta1 * m[i] + c.rest1 * g;
    v[i] = c.beta2 * v[i] + c.rest2 * g * g;
    const float denominator = __builtin_sqrtf(v[i] * c.v_correction) + c.eps;
    p[i] = p[i] * c.decay - c.step_size * m[i] / denominator;
  }
}

}  // namespace

void adamw(Stream& stream, const AdamWStep& step, const Tensor& param, const Tensor& grad,
           const Tensor& m, const Tensor& v) {
  const Constants constants(step);
  parallel_pieces(stream, param.numel(), kGrain, 7 * param.bytes(),
                  [&constants, p = param.data<float>(), g = grad.data<float>(), m = m.data<float>(),
                   v = v.data<float>()](int64_t begin, int64_t end) {
                    update(begin, end, constants, p, g, m, v);
                  });
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
