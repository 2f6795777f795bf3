// What every backend checks before it starts an operation: shapes, dtypes, ranks and contiguity as
// communicator.h states them. An InvariantError names the operation's label and both values.
#pragma once

#include <cstdint>
#include <span>

#include "lib/comm/communicator.h"

namespace nemo::contract {

void check_all_reduce(const Tensor& buffer, const char* label);
void check_all_gather(int size, const Tensor& input, const Tensor& output, const char* label);
void check_reduce_scatter(int size, const Tensor& input, const Tensor& output, const char* label);
void check_all_to_all(int size, const Tensor& input, const Tensor& output, const char* label);
void check_all_to_all_v(int size, const Tensor& input, std::span<const int64_t> input_rows,
                        const Tensor& output, std::span<const int64_t> output_rows,
                        const char* label);
void check_broadcast(int size, const Tensor& buffer, int root, const char* label);
// `op` is "send" or "receive".
void check_peer(const char* op, int rank, int size, const Tensor& buffer, int peer,
                const char* label);

}  // namespace nemo::contract
