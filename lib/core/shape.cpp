#include "lib/core/shape.h"

#include <algorithm>

#include "lib/core/error.h"

namespace nemo {

Shape::Shape(std::initializer_list<int64_t> sizes) : num_dims_(static_cast<int>(sizes.size())) {
  NEMO_CHECK(num_dims_ <= kMaxDims, "[shape] {} dims, at most {}", num_dims_, kMaxDims);
  std::copy(sizes.begin(), sizes.end(), sizes_.begin());
}

void Shape::append(int64_t size) {
  NEMO_CHECK(num_dims_ < kMaxDims, "[shape] more than {} dims", kMaxDims);
  sizes_[static_cast<size_t>(num_dims_++)] = size;
}

int64_t Shape::numel() const {
  int64_t n = 1;
  for (int dim = 0; dim < num_dims_; ++dim) n *= (*this)[dim];
  return n;
}

std::string Shape::to_string() const {
  std::string text = "[";
  for (int dim = 0; dim < num_dims_; ++dim)
    text += fmt::format("{}{}", dim ? ", " : "", (*this)[dim]);
  return text + "]";
}

}  // namespace nemo
