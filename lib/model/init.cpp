#include "lib/model/init.h"

#include "kernels/elementwise.h"
#include "kernels/normal.h"
#include "lib/core/philox.h"

namespace nemo {
namespace {

void init_part(Stream& stream, const ParamPart& part, uint64_t seed, const Tensor& out) {
  const LogicalTensor& tensor = part.tensor;
  if (tensor.init != Init::kNormal) {
    kernels::fill(stream, out, tensor.init == Init::kOnes ? 1.0f : 0.0f);
    return;
  }
  kernels::fill_normal(stream,
                       {.seed = seed,
                        .name_hash = hash_name(tensor.name),
                        .std = tensor.init_std,
                        .row_length = tensor.shape[1],
                        .first_row = part.slice.rows.begin,
                        .first_col = part.slice.cols.begin},
                       out);
}

}  // namespace

Tensor part_of(const Tensor& param, const ParamPart& part) {
  return param.slice(0, part.first_row, part.first_row + part.slice.rows.size());
}

void init_param(Stream& stream, const Param& param, uint64_t seed, const Tensor& values) {
  for (const ParamPart& part : param.parts) init_part(stream, part, seed, part_of(values, part));
}

}  // namespace nemo
