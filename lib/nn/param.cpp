#include "lib/nn/param.h"

#include "lib/core/error.h"

namespace nemo {

Slice WholePartition::slice(const LogicalTensor& tensor) const {
  const int64_t cols = tensor.shape.num_dims() == 2 ? tensor.shape[1] : 1;
  return {{0, tensor.shape[0]}, {0, cols}};
}

int ParamSet::begin_unit(const std::string& name) {
  unit_names_.push_back(name);
  return num_units() - 1;
}

ParamId ParamSet::add(const std::string& name, const std::vector<LogicalTensor>& tensors) {
  NEMO_CHECK(num_units() > 0 && !tensors.empty(), "[param] {} has no unit or no parts", name);
  const int num_dims = tensors[0].shape.num_dims();
  Param param{name, {}, {}, num_units() - 1, num_dims > 1};
  int64_t rows = 0;
  int64_t cols = 0;
  for (const LogicalTensor& tensor : tensors) {
    const Slice slice = partition_.slice(tensor);
    NEMO_CHECK(tensor.shape.num_dims() == num_dims && (!rows || cols == slice.cols.size()),
               "[param] {} stacks {} under {} columns", name, tensor.shape.to_string(), cols);
    param.parts.push_back({tensor, slice, rows});
    rows += slice.rows.size();
    cols = slice.cols.size();
  }
  param.shape = num_dims == 2 ? Shape{rows, cols} : Shape{rows};
  params_.push_back(std::move(param));
  return num_params() - 1;
}

int64_t ParamSet::numel() const {
  int64_t n = 0;
  for (const Param& param : params_) n += param.shape.numel();
  return n;
}

}  // namespace nemo
