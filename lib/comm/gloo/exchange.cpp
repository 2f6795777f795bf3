#include "lib/comm/gloo/exchange.h"

#include <algorithm>
#include <cstring>

#include "lib/comm/reduce.h"

namespace nemo::gloo {
namespace {

// Inputs up to this travel with the call: to send them to everybody is cheaper than two rounds.
constexpr int64_t kSmallBytes = 16 << 10;
// Of a slice, in one round of a reduction; two rounds are in flight.
constexpr int64_t kChunkBytes = 2 << 20;

int64_t input_bytes(const Posting& posting, int num_members) {
  switch (posting.kind) {
    case OpKind::kReduceScatter:
    case OpKind::kAllToAll:
      return posting.bytes() * num_members;
    default:
      return posting.bytes();
  }
}

bool is_small(const Posting& posting, int num_members) {
  return posting.kind != OpKind::kAllToAllV && input_bytes(posting, num_members) <= kSmallBytes;
}

bool is_reduction(const Posting& posting) {
  return posting.kind == OpKind::kAllReduce || posting.kind == OpKind::kReduceScatter;
}

int64_t address_of(std::byte* memory) {
  return static_cast<int64_t>(reinterpret_cast<uintptr_t>(memory));
}

void wait_all(std::vector<Message>& messages) {
  for (Message& message : messages) message.wait();
}

}  // namespace

uint64_t tag_of(int64_t group, Traffic traffic, int64_t sequence, int64_t bytes) {
  const auto low = [](int64_t value, int bits) {
    return static_cast<uint64_t>(value) & ((uint64_t{1} << bits) - 1);
  };
  return low(group, 16) << 48 | static_cast<uint64_t>(traffic) << 45 | low(sequence, 10) << 35 |
         low(bytes, 35);
}

Exchange::Exchange(Network& network, int64_t group, std::span<const int> members, int member)
    : network_(network),
      group_(group),
      members_(members),
      member_(member),
      frames_(std::make_unique<std::byte[]>(static_cast<size_t>(size() * frame_bytes()))),
      postings_(members.size()),
      rows_(2 * members.size() * (members.size() + 1)),
      inputs_(members.size()) {}

int64_t Exchange::header_bytes() const {
  return static_cast<int64_t>(sizeof(Posting)) +
         2 * (size() + 1) * static_cast<int64_t>(sizeof(int64_t));
}

int64_t Exchange::frame_bytes() const {
  return round_up(header_bytes() + kSmallBytes, int64_t{64});
}

std::string Exchange::run(const Call& call) {
  sequence_ = call.sequence;
  exchange_calls(call);
  const std::string mismatch = find_mismatch(operation(), members_);
  if (!mismatch.empty()) return mismatch;
  if (is_small(call.posting, size()))
    run_here();
  else if (is_reduction(call.posting) && size() > 1)
    run_reduction();
  else
    run_copies();
  return "";
}

void Exchange::exchange_calls(const Call& call) {
  Messages messages;
  for (int i = 0; i < size(); ++i) receive(messages, i, Traffic::kCall, frame(i), frame_bytes());
  std::byte* mine = frame(member_);
  std::memcpy(mine, &call.posting, sizeof(Posting));
  if (!call.rows.empty())
    std::memcpy(mine + sizeof(Posting), call.rows.data(), call.rows.size() * sizeof(int64_t));
  int64_t bytes = header_bytes();
  const int64_t payload = input_bytes(call.posting, size());
  if (is_small(call.posting, size()) && payload > 0) {
    const auto* input = reinterpret_cast<const std::byte*>(call.posting.input);
    std::memcpy(mine + bytes, input, static_cast<size_t>(payload));
    bytes += payload;
  }
  for (int i = 0; i < size(); ++i) send(messages, i, Traffic::kCall, mine, bytes);
  wait_all(messages);
  for (int i = 0; i < size(); ++i) read_frame(i);
}

// Small inputs of others are found in their frames, and whatever is a peer's output may go there.
void Exchange::read_frame(int member) {
  Posting& posting = postings_[static_cast<size_t>(member)];
  std::memcpy(&posting, frame(member), sizeof(Posting));
  const size_t num_rows = 2 * (members_.size() + 1);
  std::memcpy(&rows_[static_cast<size_t>(member) * num_rows], frame(member) + sizeof(Posting),
              num_rows * sizeof(int64_t));
  if (member != member_ && is_small(posting, size()))
    posting.input = posting.output = address_of(frame(member) + header_bytes());
}

// Everybody's input is here.
void Exchange::run_here() {
  const Operation op = operation();
  const bool is_whole = op[0].kind == OpKind::kAllReduce;
  for (int lane = is_whole ? 0 : member_; lane < (is_whole ? size() : member_ + 1); ++lane) {
    const Range chunks = lane_chunks(op, lane);
    for (int64_t chunk = chunks.begin; chunk < chunks.end; ++chunk) run_chunk(op, lane, chunk);
  }
}

void Exchange::run_copies() {
  const Operation op = operation();
  std::byte* output = op.output(member_);
  Messages messages;
  for (int i = 0; i < size(); ++i) {
    const Extent to = find_extent(op, member_, i);
    const Extent from = find_extent(op, i, member_);
    receive(messages, i, Traffic::kData, output + from.begin, from.end - from.begin);
    send(messages, i, Traffic::kData, to.source, to.end - to.begin);
  }
  const Extent own = find_extent(op, member_, member_);
  if (own.source != output + own.begin && own.end > own.begin)
    std::memcpy(output + own.begin, own.source, static_cast<size_t>(own.end - own.begin));
  wait_all(messages);
}

Range Exchange::slice(int member) const {
  const Posting& posting = postings_[0];
  if (posting.kind == OpKind::kAllReduce) return split_evenly(posting.count, size(), member);
  return {member * posting.count, (member + 1) * posting.count};
}

Range Exchange::piece(int member, int64_t round) const {
  const Range whole = slice(member);
  const int64_t most = kChunkBytes / size_of(postings_[0].dtype);
  const int64_t begin = std::min(whole.begin + round * most, whole.end);
  return {begin, std::min(begin + most, whole.end)};
}

std::byte* Exchange::staged(int64_t round, int member) {
  return staging_.get() + (round % 2 * size() + member) * (staging_bytes_ / (2 * size()));
}

// The first slice is the longest.
void Exchange::run_reduction() {
  const int64_t element = size_of(postings_[0].dtype);
  const int64_t num_rounds = ceil_div(slice(0).size() * element, kChunkBytes);
  const int64_t needed = 2 * size() * round_up(piece(0, 0).size() * element, int64_t{64});
  if (staging_bytes_ < needed) {
    staging_ = std::make_unique_for_overwrite<std::byte[]>(static_cast<size_t>(needed));
    staging_bytes_ = needed;
  }
  Messages shared;
  Messages current = begin_round(0);
  for (int64_t round = 0; round < num_rounds; ++round) {
    Messages next;
    if (round + 1 < num_rounds) next = begin_round(round + 1);
    wait_all(current);
    reduce_round(round);
    if (postings_[0].kind == OpKind::kAllReduce) share_round(round, shared);
    current = std::move(next);
  }
  wait_all(shared);
}

Exchange::Messages Exchange::begin_round(int64_t round) {
  const Operation op = operation();
  const int64_t element = size_of(op[0].dtype);
  Messages messages;
  for (int i = 0; i < size(); ++i) {
    const Range theirs = piece(i, round);
    receive(messages, i, Traffic::kData, staged(round, i), piece(member_, round).size() * element);
    send(messages, i, Traffic::kData, op.input(member_) + theirs.begin * element,
         theirs.size() * element);
  }
  return messages;
}

void Exchange::reduce_round(int64_t round) {
  const Operation op = operation();
  const Posting& posting = op[0];
  const int64_t element = size_of(posting.dtype);
  const Range own = piece(member_, round);
  const bool in_place = posting.kind == OpKind::kAllReduce;
  std::byte* output =
      op.output(member_) + (own.begin - (in_place ? 0 : slice(member_).begin)) * element;
  for (int i = 0; i < size(); ++i)
    inputs_[static_cast<size_t>(i)] =
        i == member_ ? op.input(member_) + own.begin * element : staged(round, i);
  reduce(posting.dtype, posting.reduce, inputs_, {&output, 1}, own.size());
}

void Exchange::share_round(int64_t round, Messages& messages) {
  const Operation op = operation();
  const int64_t element = size_of(op[0].dtype);
  std::byte* buffer = op.output(member_);
  const Range own = piece(member_, round);
  for (int i = 0; i < size(); ++i) {
    const Range theirs = piece(i, round);
    receive(messages, i, Traffic::kResult, buffer + theirs.begin * element,
            theirs.size() * element);
    send(messages, i, Traffic::kResult, buffer + own.begin * element, own.size() * element);
  }
}

void Exchange::send(Messages& messages, int member, Traffic traffic, const std::byte* data,
                    int64_t bytes) {
  if (member == member_ || bytes == 0) return;
  messages.push_back(Message::send(network_, members_[static_cast<size_t>(member)],
                                   tag_of(group_, traffic, sequence_), data, bytes));
}

void Exchange::receive(Messages& messages, int member, Traffic traffic, std::byte* data,
                       int64_t bytes) {
  if (member == member_ || bytes == 0) return;
  messages.push_back(Message::receive(network_, members_[static_cast<size_t>(member)],
                                      tag_of(group_, traffic, sequence_), data, bytes));
}

}  // namespace nemo::gloo
