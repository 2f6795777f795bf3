#include "lib/comm/shared/operation.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "lib/comm/reduce.h"
#include "lib/core/counted.h"

namespace nemo::shared {
namespace {

// A multiple of the cache line and of every element; a few µs of work.
constexpr int64_t kChunkBytes = 32 << 10;

using Postings = std::span<const Posting>;

const char* name_of(const Posting& posting) {
  constexpr std::array kNames = {"all_reduce", "all_gather",   "reduce_scatter",
                                 "all_to_all", "all_to_all_v", "broadcast",
                                 "",           "barrier"};
  if (posting.kind == OpKind::kPointToPoint) return posting.output ? "receive" : "send";
  return kNames[static_cast<size_t>(posting.kind)];
}

bool is_reduction(Postings postings) {
  const OpKind kind = postings[0].kind;
  return postings.size() > 1 && (kind == OpKind::kAllReduce || kind == OpKind::kReduceScatter);
}

bool agree(const Posting& a, const Posting& b) {
  const bool labels_agree = a.kind == OpKind::kPointToPoint || std::string_view(a.label) == b.label;
  return a.kind == b.kind && a.dtype == b.dtype && a.reduce == b.reduce && a.root == b.root &&
         a.count == b.count && labels_agree;
}

int64_t rows(const std::vector<int64_t>& offsets, size_t part) {
  return offsets[part + 1] - offsets[part];
}

std::string describe(const Posting& posting) {
  return fmt::format("{}{} of {} {}", to_string(posting),
                     posting.reduce == ReduceOp::kMax ? " (max)" : "", posting.count,
                     to_string(posting.dtype));
}

std::string find_row_mismatch(Postings postings, std::span<const int> world_ranks) {
  for (size_t from = 0; from < postings.size(); ++from)
    for (size_t to = 0; to < postings.size(); ++to) {
      const int64_t sent = rows(postings[from].input_offsets, to);
      const int64_t expected = rows(postings[to].output_offsets, from);
      if (sent != expected)
        return fmt::format("rank {} sends {} to rank {}, which expects {}", world_ranks[from],
                           counted(sent, "row"), world_ranks[to], expected);
    }
  return "";
}

// Bytes [begin, end) of rank `to`'s output come from `source`, rank `from`'s memory.
struct Segment {
  const std::byte* source;
  int64_t begin;
  int64_t end;
};

Segment find_segment(Postings postings, int from, int to) {
  const Posting& sender = postings[static_cast<size_t>(from)];
  const Posting& receiver = postings[static_cast<size_t>(to)];
  const int64_t part = sender.bytes();
  switch (sender.kind) {
    case OpKind::kAllToAll:
      return {sender.input + to * part, from * part, (from + 1) * part};
    case OpKind::kAllToAllV:
      return {sender.input + sender.input_offsets[static_cast<size_t>(to)] * part,
              receiver.output_offsets[static_cast<size_t>(from)] * part,
              receiver.output_offsets[static_cast<size_t>(from) + 1] * part};
    case OpKind::kBroadcast:
    case OpKind::kPointToPoint:
      if (from != sender.root || to == from) return {nullptr, 0, 0};
      return {sender.input, 0, part};
    default:  // all_gather, and a reduction over one rank
      return {sender.input, from * part, (from + 1) * part};
  }
}

void copy_chunk(Postings postings, int lane, Range bytes) {
  std::byte* output = postings[static_cast<size_t>(lane)].output;
  for (int from = 0; from < std::ssize(postings); ++from) {
    const Segment segment = find_segment(postings, from, lane);
    const int64_t begin = std::max(segment.begin, bytes.begin);
    const int64_t end = std::min(segment.end, bytes.end);
    if (begin >= end) continue;
    const std::byte* source = segment.source + (begin - segment.begin);
    if (source != output + begin)
      std::memcpy(output + begin, source, static_cast<size_t>(end - begin));
  }
}

void reduce_chunk(Postings postings, int lane, Range bytes) {
  const bool to_all = postings[0].kind == OpKind::kAllReduce;
  const int64_t input_offset = bytes.begin + (to_all ? 0 : lane * postings[0].bytes());
  std::array<const std::byte*, kMaxRanks> inputs;
  std::array<std::byte*, kMaxRanks> outputs;
  for (size_t rank = 0; rank < postings.size(); ++rank) {
    inputs[rank] = postings[rank].input + input_offset;
    outputs[rank] = postings[to_all ? rank : static_cast<size_t>(lane)].output + bytes.begin;
  }
  reduce(postings[0].dtype, postings[0].reduce, {inputs.data(), postings.size()},
         {outputs.data(), to_all ? postings.size() : 1}, bytes.size() / size_of(postings[0].dtype));
}

}  // namespace

std::string to_string(const Posting& posting) {
  return fmt::format("{} \"{}\"", name_of(posting), posting.label);
}

std::string find_mismatch(Postings postings, std::span<const int> world_ranks) {
  for (size_t i = 1; i < postings.size(); ++i)
    if (!agree(postings[0], postings[i]))
      return fmt::format("rank {} called {}, rank {} called {}", world_ranks[0],
                         describe(postings[0]), world_ranks[i], describe(postings[i]));
  return postings[0].kind == OpKind::kAllToAllV ? find_row_mismatch(postings, world_ranks) : "";
}

int64_t result_bytes(Postings postings, int lane) {
  const Posting& posting = postings[static_cast<size_t>(lane)];
  const int64_t size = std::ssize(postings);
  switch (posting.kind) {
    case OpKind::kBarrier:
      return 0;
    case OpKind::kAllGather:
    case OpKind::kAllToAll:
      return posting.bytes() * size;
    case OpKind::kAllToAllV:
      return posting.bytes() * posting.output_offsets.back();
    case OpKind::kBroadcast:
    case OpKind::kPointToPoint:
      return lane == posting.root ? 0 : posting.bytes();
    default:
      return posting.bytes();
  }
}

Range lane_chunks(Postings postings, int lane) {
  const int64_t num_chunks = ceil_div(result_bytes(postings, lane), kChunkBytes);
  if (is_reduction(postings) && postings[0].kind == OpKind::kAllReduce)
    return split_evenly(num_chunks, std::ssize(postings), lane);
  return {0, num_chunks};
}

void run_chunk(Postings postings, int lane, int64_t chunk) {
  const int64_t begin = chunk * kChunkBytes;
  const Range bytes = {begin, std::min(begin + kChunkBytes, result_bytes(postings, lane))};
  is_reduction(postings) ? reduce_chunk(postings, lane, bytes) : copy_chunk(postings, lane, bytes);
}

}  // namespace nemo::shared
