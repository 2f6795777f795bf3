// The checks that op contracts are made of. Each throws InvariantError naming op and tensor.
#pragma once

#include "lib/core/error.h"
#include "lib/device/tensor.h"

namespace nemo::kernels {

inline void expect_shape(const char* op, const char* name, const Tensor& tensor,
                         const Shape& shape) {
  NEMO_CHECK(tensor && tensor.shape() == shape, "[{}] {} is {}, expected {}", op, name,
             tensor.shape().to_string(), shape.to_string());
}

inline void expect_contiguous(const char* op, const char* name, const Tensor& tensor) {
  NEMO_CHECK(tensor.is_contiguous(), "[{}] {} is not contiguous", op, name);
}

inline void expect_dtype(const char* op, const char* name, const Tensor& tensor, DType dtype) {
  NEMO_CHECK(tensor.dtype() == dtype, "[{}] {} is {}, expected {}", op, name,
             to_string(tensor.dtype()), to_string(dtype));
}

// The tensor's dtype, one of those that with_storage of functors/storage.h takes.
inline DType expect_storage(const char* op, const char* name, const Tensor& tensor) {
  const DType dtype = tensor.dtype();
  NEMO_CHECK(dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16,
             "[{}] {} is {}, expected fp32, bf16 or fp16", op, name, to_string(dtype));
  return dtype;
}

// Of this dtype and shape, with any strides but a dense last dim.
inline void expect_dense_rows(const char* op, const char* name, const Tensor& tensor, DType dtype,
                              const Shape& shape) {
  expect_shape(op, name, tensor, shape);
  expect_dtype(op, name, tensor, dtype);
  const int last = tensor.num_dims() - 1;
  NEMO_CHECK(last < 0 || tensor.stride(last) == 1, "[{}] {} has last stride {}, expected 1", op,
             name, tensor.stride(last));
}

// Contiguous, of this dtype and shape: what most arguments are.
inline void expect(const char* op, const char* name, const Tensor& tensor, DType dtype,
                   const Shape& shape) {
  expect_shape(op, name, tensor, shape);
  expect_dtype(op, name, tensor, dtype);
  expect_contiguous(op, name, tensor);
}

// Every element is in [lowest, limit). It reads them, so not for a record device.
inline void expect_indices(const char* op, const char* name, const Tensor& indices, int64_t limit,
                           int32_t lowest = 0) {
  const int32_t* index = indices.data<int32_t>();
  for (int64_t i = 0; i < indices.numel(); ++i)
    NEMO_CHECK(index[i] >= lowest && index[i] < limit, "[{}] {}[{}] is {}, outside [{}, {})", op,
               name, i, index[i], lowest, limit);
}

}  // namespace nemo::kernels
