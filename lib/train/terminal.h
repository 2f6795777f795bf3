// What a person sees of a run: one line a logged step on standard output.
#pragma once

#include <atomic>
#include <system_error>

#include "lib/train/metrics.h"

namespace nemo {

// Both return why the line could not be written. Where nobody reads they wait, until stop_signal is
// not 0: a signal that another thread receives does not wake a write.

// "step 20/300  loss 2.3105  grad_norm 0.842  lr 3.00e-04  41.2k tokens/s  mfu 38.1%  0:00:12 left"
std::error_code print_step(const StepRecord& record, int64_t max_steps,
                           const std::atomic<int>& stop_signal);

// "eval 20  loss 2.2987 over 16384 tokens"
std::error_code print_eval(const EvalRecord& record, const std::atomic<int>& stop_signal);

}  // namespace nemo
