// One rank thread's end of a group: checks its arguments and posts them in the group's rings.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lib/comm/shared/group.h"

namespace nemo::shared {

class SharedCommunicator final : public Communicator {
 public:
  SharedCommunicator(std::shared_ptr<Group> group, int rank);

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
  std::unique_ptr<Communicator> split(int color, const std::string& name) override;
  void poison(const std::string& reason) noexcept override;

 private:
  // A ring this rank is a member of, and its next sequence number there.
  struct Endpoint {
    Ring* ring = nullptr;
    int member = 0;
    int64_t next = 0;
  };
  struct Ticket {
    Endpoint* endpoint;
    int64_t sequence;
  };

  Endpoint& sending_to(int peer);
  Endpoint& receiving_from(int peer);
  // The endpoint's next operation, described but for what only some operations have.
  static Posting& prepare(Endpoint& endpoint, OpKind kind, const char* label, DType dtype,
                          int64_t count, const void* input, void* output);
  Work post(Endpoint& endpoint, const Tensor& input, const Tensor& output);
  // Posts it and waits for it; returns its sequence number.
  static int64_t run(Endpoint& endpoint);
  Ticket find(int64_t ticket);
  void wait(int64_t ticket, Stream& stream) override;
  void abandon(int64_t ticket) noexcept override;

  std::shared_ptr<Group> group_;
  // The group's collectives, then what is sent to each peer, then what is received from each.
  std::vector<Endpoint> endpoints_;
};

}  // namespace nemo::shared
