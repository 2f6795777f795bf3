// Where the rows of a micro batch's tokens go among the ranks that share the experts, and come back
// from: the plan of one dispatch, made from the router's choices.
//
// The ranks of a block (etp x ep) hold all experts once: rank (a, b) has slice a of the experts of
// ep rank b. A choice's row is sent over ep to its expert's ranks with the sender's own a; there
// the etp ranks gather what each received, because every slice of an expert needs every row.
// Experts then see their rows in runs:
//
//   tokens [rows, k] --sent--> [num_sent] --ep--> [num_arrived] --etp--> [etp, most] --> runs
//   [num_rows]
//
// With a block of one rank the rows sent are the runs.
#pragma once

#include <optional>
#include <vector>

#include "lib/nn/context.h"

namespace nemo {

struct RoutesConfig {
  int64_t num_experts;
  std::optional<double> capacity_factor;  // empty = no choice is dropped
  int64_t layer;                          // its row in RouterState
};

struct Routes {
  // Index tensors are int32; -1 stands for a row of zeros, or for nothing.
  Tensor sent_token;      // [num_sent]: the token whose row is sent
  Tensor sent_choice;     // [num_sent]: token * k + which of its choices
  Tensor place;           // [rows, k]: the row sent for each choice; -1 = dropped
  Tensor run_row;         // [num_rows]: the gathered row of each row of the runs
  Tensor gathered_place;  // [etp * most]: the row of the runs of each gathered row
  // Rows to and from each ep rank; most: the largest number that an etp rank received.
  std::vector<int64_t> sent_rows, arrived_rows;
  int64_t num_arrived = 0, most = 0;
  // Local expert e has the rows [offsets[e], offsets[e + 1]) of the runs.
  std::vector<int64_t> offsets;

  int64_t num_sent() const { return sent_token.size(0); }
  int64_t num_rows() const { return offsets.back(); }
};

// indices: [rows, k] int32. Collective over the block, and with a capacity factor over tp and cp.
// On a record device as if all experts were chosen alike.
Routes make_routes(Context& ctx, const MicroBatch& batch, const Tensor& indices,
                   const RoutesConfig& config);

}  // namespace nemo
