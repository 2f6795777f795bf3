// A typed, strided view of memory that keeps its buffer alive. Cheap to copy; never copies data.
#pragma once

#include <array>

#include "lib/core/dtype.h"
#include "lib/core/shape.h"
#include "lib/device/arena.h"

namespace nemo {

class Tensor {
 public:
  Tensor() = default;
  // A row-major view of memory somebody else keeps alive.
  Tensor(void* data, DType dtype, const Shape& shape);
  // A new row-major tensor in the arena, uninitialised.
  Tensor(Arena& arena, DType dtype, const Shape& shape, MemoryCategory category, const char* name);

  explicit operator bool() const { return data_ != nullptr; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int num_dims() const { return shape_.num_dims(); }
  int64_t size(int dim) const { return shape_[dim]; }
  // In elements; the last dim of every tensor has stride 1.
  int64_t stride(int dim) const { return strides_[dim]; }
  int64_t numel() const { return shape_.numel(); }
  int64_t bytes() const { return numel() * size_of(dtype_); }
  bool is_contiguous() const;

  // The elements as T, which must be the tensor's dtype.
  template <typename T>
  T* data() const {
    check_dtype(DTypeOf<T>::kValue);
    return static_cast<T*>(data_);
  }
  void* raw() const { return data_; }

  // The same elements under another shape; contiguous tensors only.
  Tensor view(const Shape& shape) const;
  // Part `index` of the outermost dim, which is gone from its shape.
  Tensor at(int64_t index) const;
  // Elements [begin, end) of one dim, the others whole.
  Tensor slice(int dim, int64_t begin, int64_t end) const;
  // A dim of size a*b seen as two dims [a, b]; works on strided tensors too.
  Tensor unflatten(int dim, int64_t outer, int64_t inner) const;

 private:
  void check_dtype(DType wanted) const;

  void* data_ = nullptr;
  DType dtype_ = DType::kF32;
  Shape shape_;
  Shape strides_;
  Buffer buffer_;
};

// The value a tensor of one element holds.
template <typename T>
T item(const Tensor& tensor) {
  return tensor.data<T>()[0];
}

}  // namespace nemo
