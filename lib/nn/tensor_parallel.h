// Where activations enter and leave what is divided among the tp ranks, each crossing beside its
// conjugate. Between, a rank works on all T tokens of the micro batch with its share of the heads
// or widths; outside, on `rows` of them:
//
//                    rows  enter_tp    its backward    exit_tp         its backward
//   tensor parallel  T     identity    all-reduce      all-reduce      identity
//   with sequence    T/tp  all-gather  reduce-scatter  reduce-scatter  all-gather
//
// With sequence parallelism rank i holds rows [i T/tp, (i+1) T/tp) of the flat batch-major rows, so
// that a gather restores their order with nothing permuted. Every tensor is [rows or T, h].
#pragma once

#include "lib/nn/context.h"

namespace nemo {

// rows -> T; x itself where nothing is to be gathered.
Tensor enter_tp(Context& ctx, const Tensor& x);
// T, of each rank a part of the sum -> rows of the sum. Without sequence parallelism in place.
Tensor enter_tp_backward(Context& ctx, const Tensor& dx);
// The same into `rows`, which is dx itself without sequence parallelism.
void enter_tp_backward(Context& ctx, const Tensor& dx, const Tensor& rows);

// T, of each rank a part of the sum -> rows of the sum. Without sequence parallelism in place.
Tensor exit_tp(Context& ctx, const Tensor& y);
// rows -> T; dy itself where nothing is to be gathered.
Tensor exit_tp_backward(Context& ctx, const Tensor& dy);

}  // namespace nemo
