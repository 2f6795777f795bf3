#include "lib/comm/operation.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "lib/comm/reduce.h"
#include "lib/core/counted.h"

namespace nemo {
namespace {

// A multiple of the cache line and of every element; a few µs of work.
constexpr int64_t kChunkBytes = 32 << 10;

const char* name_of(const Posting& posting) {
  constexpr std::array kNames = {"all_reduce", "all_gather",   "reduce_scatter",
                                 "all_to_all", "all_to_all_v", "broadcast",
                                 "",           "barrier"};
  if (posting.kind == OpKind::kPointToPoint) return posting.output ? "receive" : "send";
  return kNames[static_cast<size_t>(posting.kind)];
}

bool is_reduction(const Operation& operation) {
  const OpKind kind = operation[0].kind;
  return operation.size() > 1 && (kind == OpKind::kAllReduce || kind == OpKind::kReduceScatter);
}

bool agree(const Posting& a, const Posting& b) {
  const bool labels_agree = a.kind == OpKind::kPointToPoint || std::string_view(a.label) == b.label;
  return a.kind == b.kind && a.dtype == b.dtype && a.reduce == b.reduce && a.root == b.root &&
         a.count == b.count && labels_agree;
}

std::string describe(const Posting& posting) {
  return fmt::format("{}{} of {} {}", to_string(posting),
                     posting.reduce == ReduceOp::kMax ? " (max)" : "", posting.count,
                     to_string(posting.dtype));
}

int64_t num_rows(const int64_t* rows, int part) {
  return rows[part + 1] - rows[part];
}

std::string find_row_mismatch(const Operation& operation, std::span<const int> world_ranks) {
  for (int from = 0; from < operation.size(); ++from)
    for (int to = 0; to < operation.size(); ++to) {
      const int64_t sent = num_rows(operation.input_rows(from), to);
      const int64_t expected = num_rows(operation.output_rows(to), from);
      if (sent != expected)
        return fmt::format("rank {} sends {} to rank {}, which expects {}",
                           world_ranks[static_cast<size_t>(from)], counted(sent, "row"),
                           world_ranks[static_cast<size_t>(to)], expected);
    }
  return "";
}

void copy_chunk(const Operation& operation, int lane, Range bytes) {
  std::byte* output = operation.output(lane);
  for (int from = 0; from < operation.size(); ++from) {
    const Extent extent = find_extent(operation, from, lane);
    const int64_t begin = std::max(extent.begin, bytes.begin);
    const int64_t end = std::min(extent.end, bytes.end);
    if (begin >= end) continue;
    const std::byte* source = extent.source + (begin - extent.begin);
    if (source != output + begin)
      std::memcpy(output + begin, source, static_cast<size_t>(end - begin));
  }
}

void reduce_chunk(const Operation& operation, int lane, Range bytes) {
  const Posting& posting = operation[0];
  const size_t size = operation.postings.size();
  const bool to_all = posting.kind == OpKind::kAllReduce;
  const int64_t input_offset = bytes.begin + (to_all ? 0 : lane * posting.bytes());
  std::array<const std::byte*, kMaxRanks> inputs;
  std::array<std::byte*, kMaxRanks> outputs;
  for (int rank = 0; rank < operation.size(); ++rank) {
    inputs[static_cast<size_t>(rank)] = operation.input(rank) + input_offset;
    outputs[static_cast<size_t>(rank)] = operation.output(to_all ? rank : lane) + bytes.begin;
  }
  reduce(posting.dtype, posting.reduce, {inputs.data(), size}, {outputs.data(), to_all ? size : 1},
         bytes.size() / size_of(posting.dtype));
}

}  // namespace

void set_label(Posting& posting, const char* label) {
  const size_t length = std::strlen(label);
  NEMO_CHECK(length < Posting::kLabelBytes, "[comm] the label \"{}\" has {} bytes of at most {}",
             label, length, Posting::kLabelBytes - 1);
  std::memcpy(posting.label, label, length + 1);
}

void set_offsets(std::span<int64_t> offsets, std::span<const int64_t> rows) {
  offsets[0] = 0;
  for (size_t i = 0; i < rows.size(); ++i) offsets[i + 1] = offsets[i] + rows[i];
}

std::string to_string(const Posting& posting) {
  return fmt::format("{} \"{}\"", name_of(posting), posting.label);
}

std::string find_mismatch(const Operation& operation, std::span<const int> world_ranks) {
  for (int i = 1; i < operation.size(); ++i)
    if (!agree(operation[0], operation[i]))
      return fmt::format("rank {} called {}, rank {} called {}", world_ranks[0],
                         describe(operation[0]), world_ranks[static_cast<size_t>(i)],
                         describe(operation[i]));
  return operation[0].kind == OpKind::kAllToAllV ? find_row_mismatch(operation, world_ranks) : "";
}

Extent find_extent(const Operation& operation, int from, int to) {
  const Posting& sender = operation[from];
  const std::byte* input = operation.input(from);
  const int64_t part = sender.bytes();
  switch (sender.kind) {
    case OpKind::kAllToAll:
      return {input + to * part, from * part, (from + 1) * part};
    case OpKind::kAllToAllV: {
      const int64_t* rows = operation.output_rows(to) + from;
      return {input + operation.input_rows(from)[to] * part, rows[0] * part, rows[1] * part};
    }
    case OpKind::kBroadcast:
    case OpKind::kPointToPoint:
      if (from != sender.root || to == from) return {nullptr, 0, 0};
      return {input, 0, part};
    default:  // all_gather, and a reduction over one rank
      return {input, from * part, (from + 1) * part};
  }
}

int64_t result_bytes(const Operation& operation, int lane) {
  const Posting& posting = operation[lane];
  switch (posting.kind) {
    case OpKind::kBarrier:
      return 0;
    case OpKind::kAllGather:
    case OpKind::kAllToAll:
      return posting.bytes() * operation.size();
    case OpKind::kAllToAllV:
      return posting.bytes() * operation.output_rows(lane)[operation.size()];
    case OpKind::kBroadcast:
    case OpKind::kPointToPoint:
      return lane == posting.root ? 0 : posting.bytes();
    default:
      return posting.bytes();
  }
}

Range lane_chunks(const Operation& operation, int lane) {
  const int64_t num_chunks = ceil_div(result_bytes(operation, lane), kChunkBytes);
  if (is_reduction(operation) && operation[0].kind == OpKind::kAllReduce)
    return split_evenly(num_chunks, operation.size(), lane);
  return {0, num_chunks};
}

void run_chunk(const Operation& operation, int lane, int64_t chunk) {
  const int64_t begin = chunk * kChunkBytes;
  const Range bytes = {begin, std::min(begin + kChunkBytes, result_bytes(operation, lane))};
  is_reduction(operation) ? reduce_chunk(operation, lane, bytes)
                          : copy_chunk(operation, lane, bytes);
}

}  // namespace nemo
