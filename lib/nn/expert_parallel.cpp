#include "lib/nn/expert_parallel.h"

#include "kernels/rows.h"

namespace nemo {
namespace {

Tensor rows_of(Context& ctx, const Tensor& x, const Tensor& index, const char* name) {
  Tensor rows = ctx.activation({index.size(0), x.size(1)}, name, x.dtype());
  kernels::gather_rows(ctx.stream, x, index, rows);
  return rows;
}

Tensor sums_of(Context& ctx, const Tensor& x, const Tensor& index, const char* name) {
  Tensor sums = ctx.activation({index.size(0), x.size(1)}, name, x.dtype());
  kernels::sum_rows(ctx.stream, x, index, sums);
  return sums;
}

}  // namespace

bool experts_are_here(const Context& ctx) {
  return ctx.mesh.etp_ep().size() == 1;
}

Tensor enter_experts(Context& ctx, const Routes& routes, const Tensor& x, const Tensor& sent) {
  Tensor rows = rows_of(ctx, x, sent, "experts.sent");
  if (experts_are_here(ctx)) return rows;
  Communicator &ep = ctx.mesh[Axis::kEp], &etp = ctx.mesh[Axis::kEtp];
  const Tensor gathered =
      ctx.activation({etp.size(), routes.most, x.size(1)}, "experts.gathered", x.dtype());
  // Received where the gather will look for this rank's part.
  const Tensor part = gathered.at(etp.rank());
  ep.all_to_all_v(rows, routes.sent_rows, part.slice(0, 0, routes.num_arrived), routes.arrived_rows,
                  "enter_experts")
      .wait(ctx.stream);
  rows = {};
  etp.all_gather(part, gathered, "enter_experts").wait(ctx.stream);
  return rows_of(ctx, gathered.view({etp.size() * routes.most, x.size(1)}), routes.run_row,
                 "experts.runs");
}

Tensor exit_experts(Context& ctx, const Routes& routes, const Tensor& y, const Tensor& place) {
  if (experts_are_here(ctx)) return sums_of(ctx, y, place, "experts.y");
  Communicator &ep = ctx.mesh[Axis::kEp], &etp = ctx.mesh[Axis::kEtp];
  const Tensor gathered = rows_of(ctx, y, routes.gathered_place, "experts.gathered")
                              .view({etp.size(), routes.most, y.size(1)});
  const Tensor part = gathered.at(etp.rank());
  etp.reduce_scatter(gathered, part, ReduceOp::kSum, "exit_experts").wait(ctx.stream);
  const Tensor rows = ctx.activation({routes.num_sent(), y.size(1)}, "experts.sent", y.dtype());
  ep.all_to_all_v(part.slice(0, 0, routes.num_arrived), routes.arrived_rows, rows, routes.sent_rows,
                  "exit_experts")
      .wait(ctx.stream);
  return sums_of(ctx, rows, place, "experts.y");
}

}  // namespace nemo
