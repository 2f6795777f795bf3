#include "kernels/router_balance.h"

#include "kernels/contract.h"
#include "kernels/dispatch.h"

namespace nemo::kernels {

NEMO_TWINS(router_load)
NEMO_TWINS(router_update_bias)

void router_load(Stream& stream, const Tensor& sums, const RouterLoad& args, const Tensor& load,
                 const Tensor& loss) {
  constexpr const char* kOp = "router_load";
  expect(kOp, "load", load, DType::kF32, {load.size(0)});
  expect(kOp, "sums", sums, DType::kF64, {2 * load.size(0) + 2});
  expect(kOp, "loss", loss, DType::kF64, {1});
  NEMO_CHECK(args.num_tokens > 0 && args.top_k > 0 && args.num_peers > 0,
             "[{}] {} tokens, {} choices each, {} peers, expected some", kOp, args.num_tokens,
             args.top_k, args.num_peers);
  NEMO_DISPATCH(stream, router_load, sums, args, load, loss);
}

void router_update_bias(Stream& stream, const Tensor& totals, float rate, const Tensor& bias) {
  constexpr const char* kOp = "router_update_bias";
  expect(kOp, "bias", bias, DType::kF32, {bias.size(0), bias.size(1)});
  expect(kOp, "totals", totals, DType::kF64, {bias.size(0), totals.size(1)});
  NEMO_CHECK(totals.size(1) >= bias.size(1), "[{}] totals of {} columns for {} experts", kOp,
             totals.size(1), bias.size(1));
  NEMO_DISPATCH(stream, router_update_bias, totals, rate, bias);
}

}  // namespace nemo::kernels
