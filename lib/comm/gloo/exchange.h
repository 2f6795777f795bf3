// How the members of a group run one operation together by messages.
//
// Every member tells every other what it called, so that an operation begins only when all have
// called the same. What is small travels with the call, and each member computes its own result of
// it. Else copies go straight from tensor to tensor, and reductions are exchanged directly: slice j
// goes to member j, which reduces it in rank order, so that the bits are those of ranks that share
// memory, and sends the result to the others.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/comm/gloo/network.h"
#include "lib/comm/operation.h"

namespace nemo::gloo {

// What messages between two ranks are about.
enum class Traffic : uint64_t { kCall, kData, kResult, kSenderCall, kReceiverCall, kTransfer };
// `bytes` keeps apart what two ends that do not agree would send each other.
uint64_t tag_of(int64_t group, Traffic traffic, int64_t sequence, int64_t bytes = 0);

// A call of a collective: of this rank's memory, with addresses for offsets.
struct Call {
  Posting posting;
  std::vector<int64_t> rows;  // all_to_all_v: before each part, of the input and then the output
  int64_t sequence;
};

// One member's end of a group's collectives. run is called in order of sequence number, on one
// thread.
class Exchange {
 public:
  // `members`: world ranks. All must outlive this.
  Exchange(Network& network, int64_t group, std::span<const int> members, int member);

  // Returns when this member's result is in place and its input read. CommError when the world
  // fails meanwhile; then nobody touches the tensors any more. A text where the members called
  // what does not fit together; empty otherwise.
  std::string run(const Call& call);

 private:
  using Messages = std::vector<Message>;

  int size() const { return static_cast<int>(members_.size()); }
  std::byte* frame(int member) { return frames_.get() + member * frame_bytes(); }
  int64_t header_bytes() const;
  int64_t frame_bytes() const;
  Operation operation() const { return {postings_, rows_, 0}; }

  void exchange_calls(const Call& call);
  void read_frame(int member);
  void run_here();
  void run_copies();
  void run_reduction();
  // Sends this member's input of a round to those who reduce it, and receives what it reduces.
  Messages begin_round(int64_t round);
  void reduce_round(int64_t round);
  // Sends the round's result to the others, and receives theirs.
  void share_round(int64_t round, Messages& messages);
  // Elements of the input that `member` reduces, and those of one round.
  Range slice(int member) const;
  Range piece(int member, int64_t round) const;
  std::byte* staged(int64_t round, int member);

  void send(Messages& messages, int member, Traffic traffic, const std::byte* data, int64_t bytes);
  void receive(Messages& messages, int member, Traffic traffic, std::byte* data, int64_t bytes);

  Network& network_;
  int64_t group_;
  std::span<const int> members_;
  int member_;
  int64_t sequence_ = 0;
  std::unique_ptr<std::byte[]> frames_;  // of each member: its posting, its rows, what is small
  std::vector<Posting> postings_;
  std::vector<int64_t> rows_;
  std::unique_ptr<std::byte[]> staging_;  // of a reduction: 2 rounds, a chunk of each member
  int64_t staging_bytes_ = 0;
  std::vector<const std::byte*> inputs_;
};

}  // namespace nemo::gloo
