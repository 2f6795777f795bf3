// Where rows enter and leave the experts, which may be on other ranks (routes.h says where), each
// crossing beside its conjugate: what is copied on the way in is summed on the way out, so either
// one is the backward of the other.
#pragma once

#include "lib/nn/routes.h"

namespace nemo {

// All of every expert is on this rank: rows go nowhere.
bool experts_are_here(const Context& ctx);

// x: [n, w], of which row sent[i] is sent as i (routes.sent_token, or sent_choice where x has a row
// for each choice) -> the runs of the experts, [num_rows, w].
Tensor enter_experts(Context& ctx, const Routes& routes, const Tensor& x, const Tensor& sent);

// y: the runs, [num_rows, w], of each etp rank a part of the sum -> [place.size(0), w]: for each
// token (routes.place) or choice (the same, [rows * k, 1]) the sum of the rows that were sent for
// it.
Tensor exit_experts(Context& ctx, const Routes& routes, const Tensor& y, const Tensor& place);

}  // namespace nemo
