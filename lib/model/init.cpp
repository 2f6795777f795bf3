#include "lib/model/init.h"

#include "kernels/elementwise.h"
#include "kernels/normal.h"
#include "lib/core/philox.h"

namespace nemo {

void init_slice(Stream& stream, const LogicalTensor& tensor, const Slice& slice, uint64_t seed,
                const Tensor& values) {
  if (tensor.init != Init::kNormal) {
    kernels::fill(stream, values, tensor.init == Init::kOnes ? 1.0f : 0.0f);
    return;
  }
  kernels::fill_normal(stream,
                       {.seed = seed,
                        .name_hash = hash_name(tensor.name),
                        .std = tensor.init_std,
                        .row_length = tensor.shape[1],
                        .first_row = slice.rows.begin,
                        .first_col = slice.cols.begin},
                       values);
}

Tensor part_of(const Tensor& param, const ParamPart& part) {
  return param.slice(0, part.first_row, part.first_row + part.slice.rows.size());
}

}  // namespace nemo
