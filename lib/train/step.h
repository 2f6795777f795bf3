// A rank's work of one step, from its micro batches to the gradients of the logical model. The
// trainer runs it; what it needs and sends is predicted by running it on a record device.
#pragma once

#include "lib/parallel/parallelize.h"

namespace nemo {

struct StepTotals {
  double grad_norm;     // of all gradients, each logical element counted once
  int32_t stop_signal;  // the largest that a rank gave
};

// ctx.loss_sum and the routers' totals become those of the global batch.
StepTotals run_step(Context& ctx, const ParallelModel& model, const MicroBatches& batches,
                    int32_t stop_signal);

// Sums ctx.loss_sum over the ranks that saw other tokens; of a pipeline only the last stage saw
// one.
void share_loss(Context& ctx);

}  // namespace nemo
