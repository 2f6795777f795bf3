// What the ranks of a group do to each other's memory in one operation, cut into chunks that any
// thread may run in any order: the bits do not depend on who ran what.
//
// The chunks of lane r make rank r's result (all_reduce: slice r of everybody's result).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lib/comm/communicator.h"
#include "lib/core/math.h"

namespace nemo::shared {

inline constexpr int kMaxRanks = 256;

enum class OpKind : uint8_t {
  kAllReduce,
  kAllGather,
  kReduceScatter,
  kAllToAll,
  kAllToAllV,
  kBroadcast,
  kPointToPoint,  // member 0 sends, member 1 receives
  kBarrier,
};

// One rank's call of an operation. Its memory must stay until the operation is complete.
struct alignas(64) Posting {
  OpKind kind = OpKind::kBarrier;
  DType dtype = DType::kF32;
  ReduceOp reduce = ReduceOp::kSum;
  int root = 0;
  const char* label = "";
  const std::byte* input = nullptr;
  std::byte* output = nullptr;
  // Elements of one part; of one row for all_to_all_v.
  int64_t count = 0;
  // all_to_all_v: rows before part i, size + 1 of them.
  std::vector<int64_t> input_offsets, output_offsets;

  int64_t bytes() const { return count * size_of(dtype); }
};

// As messages name it: all_reduce "grads".
std::string to_string(const Posting& posting);

// Empty when the postings of all ranks fit together, else who called what.
std::string find_mismatch(std::span<const Posting> postings, std::span<const int> world_ranks);

// Bytes of the lane's result; a barrier has none, nor has the rank that only sends.
int64_t result_bytes(std::span<const Posting> postings, int lane);

// The chunks of a lane, numbered so that all_reduce's lanes follow each other.
Range lane_chunks(std::span<const Posting> postings, int lane);

void run_chunk(std::span<const Posting> postings, int lane, int64_t chunk);

}  // namespace nemo::shared
