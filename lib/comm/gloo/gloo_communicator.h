// One rank's end of a group that talks by messages.
//
// Collectives wait in a queue for the group's progress thread, which runs them in order; in a group
// of one rank they run at the call. Sends and receives are under way from the call on and do not
// queue.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "lib/comm/gloo/exchange.h"

namespace nemo::gloo {

class GlooCommunicator final : public Communicator {
 public:
  // Collective among `world_ranks`, of which this is member `rank`. `group` is the same number on
  // all of them, and of no other group of any of them.
  GlooCommunicator(std::shared_ptr<Network> network, int64_t group, const std::string& name,
                   std::vector<int> world_ranks, int rank);
  ~GlooCommunicator() override;

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
  // A send or a receive: both ends' calls, and the data, all under way.
  struct Transfer {
    int from, to;  // members
    Posting mine, theirs;
    std::vector<Message> messages;  // theirs first
  };
  // How long a wait goes on.
  struct Patience {
    Clock::time_point deadline;
    bool is_last = false;
  };
  // What has been called and not waited for.
  struct InFlight {
    int64_t ticket;
    int64_t sequence;
    Posting posting;
    std::unique_ptr<Transfer> transfer;  // null for a collective
  };

  Call prepare(OpKind kind, const char* label, DType dtype, int64_t count, const Tensor& input,
               const Tensor& output);
  // Returns the ticket.
  int64_t post(Call call);
  Work post(Call call, const Tensor& input, const Tensor& output);
  Work post_transfer(int from, int to, const Tensor& buffer, const char* label);
  // `values` of every rank, in order.
  std::vector<int64_t> gather(std::span<const int64_t> values);

  void progress();
  // The world has failed where it returns false.
  bool run(const Call& call) noexcept;

  void wait(int64_t ticket, Stream& stream) override;
  void wait(int64_t ticket);
  void wait_for_collective(int64_t sequence);
  void wait_for_transfer(const InFlight& call);
  void check_transfer(const InFlight& call, const std::vector<int>& ends);
  void abandon(int64_t ticket) noexcept override;
  InFlight take(int64_t ticket);
  // Until no thread of this rank touches the tensors of its collectives; after poison.
  void drain(std::unique_lock<std::mutex>& lock) noexcept;

  // What one member sends another, among the group's channels.
  int64_t channel_of(int from, int to) const;
  std::string describe(const Posting& posting, int64_t sequence) const;
  void report_mismatch(const Posting& posting, int64_t sequence,
                       const std::string& mismatch) noexcept;
  Patience full_patience() const;
  // The time is up for an operation of these world ranks; ends the world, or gives as long again.
  void report_hang(const Posting& posting, int64_t sequence, int64_t channel,
                   const std::vector<int>& world_ranks, Patience& patience) noexcept;

  std::shared_ptr<Network> network_;
  int64_t group_;
  std::vector<int> world_ranks_;
  Exchange exchange_;

  int64_t num_tickets_ = 0;
  int64_t num_collectives_ = 0;
  std::vector<int64_t> num_transfers_;  // to each member, then from each
  std::vector<InFlight> in_flight_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Call> queue_;  // the first is being run
  int64_t num_done_ = 0;
  bool is_running_ = false;
  bool is_closing_ = false;
  std::thread progress_;
};

}  // namespace nemo::gloo
