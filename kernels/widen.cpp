#include "kernels/widen.h"

#include "kernels/strided.h"

namespace nemo::kernels {

Tensor widened(Stream& stream, const Tensor& x) {
  const Tensor wide = wide_result(stream, x);
  if (x.dtype() != DType::kF32) strided_copy(stream, x, wide);
  return wide;
}

Tensor wide_result(Stream& stream, const Tensor& to) {
  if (!to || to.dtype() == DType::kF32) return to;
  return stream.workspace(DType::kF32, to.shape(), "widened");
}

void narrow(Stream& stream, const Tensor& wide, const Tensor& to) {
  if (to.dtype() != DType::kF32) strided_copy(stream, wide, to);
}

}  // namespace nemo::kernels
