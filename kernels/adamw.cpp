#include "kernels/adamw.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(adamw)

void adamw(Stream& stream, const AdamWStep& step, const Tensor& param, const Tensor& grad,
           const Tensor& m, const Tensor& v) {
  NEMO_CHECK(step.step >= 1, "[adamw] step is {}, expected 1 or more", step.step);
  const Shape shape = {param.size(0)};
  NEMO_CHECK(param.dtype() == DType::kF32 || param.dtype() == DType::kBF16,
             "[adamw] param is {}, expected fp32 or bf16", to_string(param.dtype()));
  expect("adamw", "param", param, param.dtype(), shape);
  expect("adamw", "grad", grad, DType::kF32, shape);
  expect("adamw", "m", m, DType::kF32, shape);
  expect("adamw", "v", v, DType::kF32, shape);
  NEMO_DISPATCH(stream, adamw, step, param, grad, m, v);
}

}  // namespace nemo::kernels
