// One rank's end of a group: checks its arguments and posts them in the group's rings.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lib/comm/shared/ring.h"

namespace nemo::shared {

class SharedCommunicator final : public Communicator {
 public:
  // Makes what a group of so many ranks shares and returns where it is; done by one of them.
  static int64_t allocate(Segment& segment, int num_ranks);

  // The end of member `rank` of the group at `offset`; `world_ranks` are its members.
  SharedCommunicator(std::shared_ptr<Domain> domain, int64_t offset, const std::string& name,
                     std::vector<int> world_ranks, int rank);

  Work all_reduce(const Tensor& buffer, ReduceOp op, const char* label) override;
  Work all_gather(const Tensor& input, const Tensor& output, const char* label) override;
  Work reduce_scatter(const Tensor& input, const Tensor& output, ReduceOp op,
                      const char* label) override;
  Work all_to_all(const Tensor& input, const Tensor& output, const char* label) override;
  Work all_to_all_v(const Tensor& input, std::span<const int64_t> input_rows, const Tensor& output,
                    std::span<const int64_t> output_rows, const char* label) override;
  Work broadcast(const Tensor& buffer, int root, const char* label) override;
  Work send(const Tensor& buffer, int peer, const char* label) override;
  Work receive(const Tensor& buffer, int peer, const char* label) override;
  void barrier(const char* label) override;
  AddressRange reserve_memory(int64_t bytes) override;
  std::unique_ptr<Communicator> split(int color, const std::string& name) override;
  void poison(const std::string& reason) noexcept override;

 private:
  // This rank's end of a ring, and its next sequence number there.
  struct Endpoint {
    std::unique_ptr<Ring> ring;
    int64_t next = 0;
  };
  struct Ticket {
    Ring& ring;
    int64_t sequence;
  };

  // An operation on tensors that peers do not reach: these are copies of them.
  struct Staged {
    int64_t ticket;
    Tensor input, output;
    Tensor destination;  // of the output; empty where that is none
  };

  Endpoint& sending_to(int peer);
  Endpoint& receiving_from(int peer);
  // This rank's end of what rank `from` sends to rank `to`; the ring is made at first use.
  void open_channel(Endpoint& endpoint, int from, int to);
  // The endpoint's next operation, described but for what only some operations have.
  Posting& prepare(Endpoint& endpoint, OpKind kind, const char* label, DType dtype, int64_t count,
                   const Tensor& input, const Tensor& output);
  // Returns its ticket.
  int64_t post(Endpoint& endpoint);
  Work post(Endpoint& endpoint, const Tensor& input, const Tensor& output);
  // `value` of every rank.
  std::vector<int64_t> gather(int64_t value);

  // The ticket of the endpoint's next operation.
  int64_t next_ticket(const Endpoint& endpoint) const;
  Ticket find(int64_t ticket);
  void wait(int64_t ticket, Stream& stream) override;
  void wait(int64_t ticket);
  void abandon(int64_t ticket) noexcept override;

  int64_t offset_of(const Tensor& tensor) const;
  const Staged& stage(int64_t ticket, const Tensor& input, const Tensor& output);
  void unstage(int64_t ticket);

  std::shared_ptr<Domain> domain_;
  std::vector<int> world_ranks_;
  std::atomic<int64_t>* channels_;  // [from][to]: where their ring is, 0 = not made
  // The group's collectives, then what is sent to each peer, then what is received from each.
  std::vector<Endpoint> endpoints_;
  std::vector<Staged> staged_;  // in flight
};

}  // namespace nemo::shared
