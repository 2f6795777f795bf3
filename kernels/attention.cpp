#include "kernels/attention.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(attention_forward)
NEMO_TWINS(attention_backward)

namespace {

// [B, S, H, D] of this dtype and shape, D dense.
void expect_heads(const char* op, const char* name, const Tensor& tensor, DType dtype,
                  const Shape& shape) {
  expect_shape(op, name, tensor, shape);
  expect_dtype(op, name, tensor, dtype);
  NEMO_CHECK(tensor.stride(3) == 1 && shape[3] > 0,
             "[{}] {} of shape {} has head size stride {}, expected dense heads, not empty", op,
             name, shape.to_string(), tensor.stride(3));
}

void check_inputs(const char* op, const Tensor& q, const Tensor& k, const Tensor& v,
                  AttentionMask mask) {
  const Shape q_shape = {q.size(0), q.size(1), q.size(2), q.size(3)};
  const Shape k_shape = {q.size(0), k.size(1), k.size(2), q.size(3)};
  const DType dtype = expect_storage(op, "q", q);
  expect_heads(op, "q", q, dtype, q_shape);
  expect_heads(op, "k", k, dtype, k_shape);
  expect_heads(op, "v", v, dtype, k_shape);
  NEMO_CHECK(k_shape[2] > 0 && q_shape[2] % k_shape[2] == 0,
             "[{}] {} heads cannot share {} query groups evenly", op, q_shape[2], k_shape[2]);
  NEMO_CHECK(mask == AttentionMask::kNone || q_shape[1] == k_shape[1],
             "[{}] a causal mask over {} queries and {} keys, expected as many", op, q_shape[1],
             k_shape[1]);
}

}  // namespace

void attention_forward(Stream& stream, const Tensor& q, const Tensor& k, const Tensor& v,
                       AttentionMask mask, float scale, const Tensor& o, const Tensor& lse) {
  constexpr const char* kOp = "attention_forward";
  check_inputs(kOp, q, k, v, mask);
  expect_heads(kOp, "o", o, q.dtype(), q.shape());
  expect_dense_rows(kOp, "lse", lse, DType::kF32, {q.size(0), q.size(2), q.size(1)});
  NEMO_DISPATCH_WITH_WORKSPACE(stream, attention_forward, q, k, v, mask, scale, o, lse);
}

void attention_backward(Stream& stream, const AttentionBackward& args) {
  constexpr const char* kOp = "attention_backward";
  const Tensor& q = args.q;
  check_inputs(kOp, q, args.k, args.v, args.mask);
  expect_heads(kOp, "doutput", args.doutput, q.dtype(), q.shape());
  expect_heads(kOp, "o", args.o, q.dtype(), q.shape());
  expect_dense_rows(kOp, "lse", args.lse, DType::kF32, {q.size(0), q.size(2), q.size(1)});
  expect_heads(kOp, "dq", args.dq, q.dtype(), q.shape());
  expect_heads(kOp, "dk", args.dk, q.dtype(), args.k.shape());
  expect_heads(kOp, "dv", args.dv, q.dtype(), args.k.shape());
  NEMO_DISPATCH_WITH_WORKSPACE(stream, attention_backward, args);
}

}  // namespace nemo::kernels
