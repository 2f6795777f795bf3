// One operation of a group: what each rank called, whether the calls fit together, and what is then
// done to the ranks' memory, cut into chunks that any thread may run in any order: the bits do not
// depend on who ran what.
//
// The chunks of lane r make rank r's result (all_reduce: slice r of everybody's result).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "lib/comm/communicator.h"
#include "lib/core/math.h"

namespace nemo {

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

// One rank's call of an operation; plain data, for a segment or a message. Its memory must stay
// until the operation is complete.
struct alignas(64) Posting {
  static constexpr size_t kLabelBytes = 48;

  OpKind kind;
  DType dtype;
  ReduceOp reduce;
  int root;
  int64_t input;  // from Operation::base
  int64_t output;
  // Elements of one part; of one row for all_to_all_v.
  int64_t count;
  // Last, so that with a short label the peers read one cache line.
  char label[kLabelBytes];

  int64_t bytes() const { return count * size_of(dtype); }
};

// One operation of a group, as this process sees it.
struct Operation {
  std::span<const Posting> postings;  // of each member
  // all_to_all_v: rows before part i, size + 1 of them: [member][of the input, of the output][i].
  std::span<const int64_t> rows;
  uintptr_t base;

  int size() const { return static_cast<int>(postings.size()); }
  const Posting& operator[](int member) const { return postings[static_cast<size_t>(member)]; }
  const std::byte* input(int member) const { return address((*this)[member].input); }
  std::byte* output(int member) const { return address((*this)[member].output); }
  const int64_t* input_rows(int member) const { return &rows[table(2 * member)]; }
  const int64_t* output_rows(int member) const { return &rows[table(2 * member + 1)]; }

 private:
  std::byte* address(int64_t offset) const {
    return reinterpret_cast<std::byte*>(base + static_cast<uintptr_t>(offset));
  }
  size_t table(int index) const { return static_cast<size_t>(index) * (postings.size() + 1); }
};

// An InvariantError where it is longer than a posting can hold.
void set_label(Posting& posting, const char* label);
// offsets[i] <- rows before part i, for all parts and for the end.
void set_offsets(std::span<int64_t> offsets, std::span<const int64_t> rows);

// As messages name it: all_reduce "grads".
std::string to_string(const Posting& posting);

// Empty when the postings of all ranks fit together, else who called what.
std::string find_mismatch(const Operation& operation, std::span<const int> world_ranks);

// Bytes [begin, end) of rank `to`'s output come from `source`, rank `from`'s memory. Not for
// reductions over several ranks.
struct Extent {
  const std::byte* source;
  int64_t begin;
  int64_t end;
};
Extent find_extent(const Operation& operation, int from, int to);

// Bytes of the lane's result; a barrier has none, nor has the rank that only sends.
int64_t result_bytes(const Operation& operation, int lane);

// The chunks of a lane, numbered so that all_reduce's lanes follow each other.
Range lane_chunks(const Operation& operation, int lane);

void run_chunk(const Operation& operation, int lane, int64_t chunk);

}  // namespace nemo
