// One rank of a world that is not there: every operation checks its contract, does nothing and is
// complete, though it keeps its tensors until it is waited for. With a record device, the real step
// of any rank of any layout runs alone on it.
#pragma once

#include "lib/comm/communicator.h"

namespace nemo {

class RecordCommunicator final : public Communicator {
 public:
  RecordCommunicator(const std::string& name, int rank, int size)
      : Communicator(name, rank, size) {}

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
  void barrier(const char*) override {}
  AddressRange reserve_memory(int64_t bytes) override { return reserve_private(bytes); }
  // An invariant error: nobody is there to say who gave the same color. Use subgroup.
  std::unique_ptr<Communicator> split(int color, const std::string& name) override;
  std::unique_ptr<Communicator> subgroup(std::span<const int64_t> members,
                                         const std::string& name) override;
  void poison(const std::string&) noexcept override {}

 private:
  void wait(int64_t, Stream&) override {}
  void abandon(int64_t) noexcept override {}
};

}  // namespace nemo
