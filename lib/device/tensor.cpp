#include "lib/device/tensor.h"

#include "lib/core/error.h"

namespace nemo {
namespace {

Shape row_major_strides(const Shape& shape) {
  Shape strides = shape;
  int64_t stride = 1;
  for (int dim = shape.num_dims() - 1; dim >= 0; --dim) {
    strides[dim] = stride;
    stride *= shape[dim];
  }
  return strides;
}

}  // namespace

Tensor::Tensor(void* data, DType dtype, const Shape& shape)
    : data_(data), dtype_(dtype), shape_(shape), strides_(row_major_strides(shape)) {}

Tensor::Tensor(Arena& arena, DType dtype, const Shape& shape, MemoryCategory category,
               const char* name)
    : dtype_(dtype), shape_(shape), strides_(row_major_strides(shape)) {
  buffer_ = arena.allocate(shape.numel() * size_of(dtype), category, name);
  data_ = buffer_.data();
}

bool Tensor::is_contiguous() const {
  return strides_ == row_major_strides(shape_);
}

Tensor Tensor::view(const Shape& shape) const {
  NEMO_CHECK(is_contiguous() && shape.numel() == numel(), "[tensor] cannot view {} as {}",
             shape_.to_string(), shape.to_string());
  Tensor result = *this;
  result.shape_ = shape;
  result.strides_ = row_major_strides(shape);
  return result;
}

Tensor Tensor::at(int64_t index) const {
  const Tensor part = slice(0, index, index + 1);
  Tensor result = part;
  result.shape_ = result.strides_ = {};
  for (int d = 1; d < num_dims(); ++d) {
    result.shape_.append(part.size(d));
    result.strides_.append(part.stride(d));
  }
  return result;
}

Tensor Tensor::slice(int dim, int64_t begin, int64_t end) const {
  NEMO_CHECK(0 <= begin && begin <= end && end <= size(dim),
             "[tensor] slice [{}, {}) of dim {} of {}", begin, end, dim, shape_.to_string());
  Tensor result = *this;
  result.shape_[dim] = end - begin;
  result.data_ = static_cast<std::byte*>(data_) + begin * stride(dim) * size_of(dtype_);
  return result;
}

Tensor Tensor::unflatten(int dim, int64_t outer, int64_t inner) const {
  NEMO_CHECK(dim >= 0 && size(dim) == outer * inner && num_dims() < Shape::kMaxDims,
             "[tensor] dim {} of {} is not {} x {}", dim, shape_.to_string(), outer, inner);
  Tensor result = *this;
  Shape shape, strides;
  for (int d = 0; d < num_dims(); ++d) {
    if (d == dim) {
      shape.append(outer);
      strides.append(stride(d) * inner);
    }
    shape.append(d == dim ? inner : size(d));
    strides.append(stride(d));
  }
  result.shape_ = shape;
  result.strides_ = strides;
  return result;
}

void Tensor::check_dtype(DType wanted) const {
  NEMO_CHECK(dtype_ == wanted, "[tensor] holds {}, read as {}", to_string(dtype_),
             to_string(wanted));
}

}  // namespace nemo
