#include "kernels/router.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(router_forward)
NEMO_TWINS(router_statistics)
NEMO_TWINS(router_backward)

namespace {

void expect_chosen(const char* op, const Tensor& logits, const Tensor& indices) {
  const int64_t num_tokens = logits.size(0), num_experts = logits.size(1), k = indices.size(1);
  expect(op, "logits", logits, DType::kF32, {num_tokens, num_experts});
  expect(op, "indices", indices, DType::kI32, {num_tokens, k});
  NEMO_CHECK(k >= 1 && k <= num_experts, "[{}] indices choose {} of {} experts", op, k,
             num_experts);
}

}  // namespace

void router_forward(Stream& stream, const Tensor& logits, const Tensor& bias, bool pre_softmax,
                    const Tensor& indices, const Tensor& probs) {
  constexpr const char* kOp = "router_forward";
  expect_chosen(kOp, logits, indices);
  expect(kOp, "probs", probs, DType::kF32, indices.shape());
  if (bias) expect(kOp, "bias", bias, DType::kF32, {logits.size(1)});
  NEMO_DISPATCH(stream, router_forward, logits, bias, pre_softmax, indices, probs);
}

void router_statistics(Stream& stream, const Tensor& logits, const Tensor& indices,
                       const Tensor& sums) {
  constexpr const char* kOp = "router_statistics";
  expect_chosen(kOp, logits, indices);
  expect(kOp, "sums", sums, DType::kF64, {2 * logits.size(1) + 2});
  if (!stream.recording()) expect_indices(kOp, "indices", indices, logits.size(1));
  NEMO_DISPATCH_WITH_WORKSPACE(stream, router_statistics, logits, indices, sums);
}

void router_backward(Stream& stream, const RouterBackward& args, const Tensor& dlogits) {
  constexpr const char* kOp = "router_backward";
  expect_chosen(kOp, args.logits, args.indices);
  expect(kOp, "probs", args.probs, DType::kF32, args.indices.shape());
  expect(kOp, "dprobs", args.dprobs, DType::kF32, args.indices.shape());
  if (args.load) expect(kOp, "load", args.load, DType::kF32, {args.logits.size(1)});
  expect(kOp, "dlogits", dlogits, DType::kF32, args.logits.shape());
  if (!stream.recording()) expect_indices(kOp, "indices", args.indices, args.logits.size(1));
  NEMO_DISPATCH(stream, router_backward, args, dlogits);
}

}  // namespace nemo::kernels
