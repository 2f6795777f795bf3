// One rank's connections to the ranks of other hosts, and the one failure state of all groups that
// talk over them.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "lib/comm/store/store.h"
#include "lib/core/clock.h"

namespace gloo::transport {
class Context;
class Pair;
class UnboundBuffer;
namespace tcp {
class Device;
}  // namespace tcp
}  // namespace gloo::transport

namespace nemo {
class ProcessHost;
}  // namespace nemo

namespace nemo::gloo {

inline constexpr Clock::time_point kNever = Clock::time_point::max();

// Failing, waiting and how_far are for any thread, the rest for the rank's own. The store must
// outlive the network.
class Network {
 public:
  // The network of rank `rank` among `size`; nobody is connected yet. Collective. `host` fails with
  // the network; may be null. A usage error where this machine has no address for it.
  Network(Store& store, std::shared_ptr<ProcessHost> host, int rank, int size,
          std::chrono::nanoseconds timeout);
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  int rank() const { return rank_; }
  ProcessHost* host() const { return host_.get(); }
  std::chrono::nanoseconds timeout() const { return timeout_; }

  // No group of this rank has this number or a higher one.
  int64_t next_group() const { return next_group_; }
  void set_next_group(int64_t group) { next_group_ = group; }

  // Connects this rank to those of `members` that it is not connected to. Collective among them;
  // `key` is theirs alone.
  void connect(std::span<const int> members, std::string_view key);

  bool is_poisoned() const { return poisoned_; }
  // The first reason stays. Here only: the job is told by fail, or has told.
  void poison(const std::string& reason) noexcept;
  // CommError of the first reason.
  [[noreturn]] void raise() const;
  // Tells the job and poisons with what it ends with.
  void fail(const std::string& reason, Evidence evidence) noexcept;
  // False where all that are missed wait for others: one of those is to say for whom.
  bool fail(const Hang& hang) noexcept;

  // While the rank waits for others.
  class Waiting {
   public:
    explicit Waiting(Network& network) : network_(network) { network_.set_waits(true); }
    ~Waiting() { network_.set_waits(false); }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

   private:
    Network& network_;
  };

  // Until nobody touches the memory of messages that have been destroyed before they were done.
  void settle() noexcept;

  // How far this rank is in the groups, for a rank that waits in vain. `channel` numbers what
  // members call in order: 0 are a group's collectives.
  static int64_t how_far_key(int64_t group, int64_t channel) { return group << 32 | channel; }
  void set_called(int64_t key, int64_t sequence);
  Progress how_far(int64_t key) const;

 private:
  friend class Message;
  struct Wait {
    ::gloo::transport::UnboundBuffer* buffer;
    Clock::time_point deadline;
  };

  void set_waits(bool waits);
  void connect(int peer, uint16_t port, const std::string& address);
  // A wait for a message begins and ends; the watchdog breaks it off at its deadline, poison does
  // at once.
  std::list<Wait>::iterator begin_wait(::gloo::transport::UnboundBuffer* buffer,
                                       Clock::time_point deadline);
  void end_wait(std::list<Wait>::iterator wait);
  void watch();

  Store& store_;
  std::shared_ptr<ProcessHost> host_;
  int rank_;
  std::chrono::nanoseconds timeout_;
  std::shared_ptr<::gloo::transport::tcp::Device> device_;
  std::shared_ptr<::gloo::transport::Context> context_;
  std::vector<bool> is_connected_;
  int64_t next_group_ = 1;

  mutable std::mutex mutex_;
  std::atomic<bool> poisoned_ = false;
  std::string reason_;
  std::atomic<bool> waits_ = false;
  ::gloo::transport::Pair* connecting_ = nullptr;
  std::list<Wait> message_waits_;
  std::map<int64_t, int64_t> last_called_;

  std::condition_variable message_waits_changed_;
  bool closing_ = false;
  std::thread watchdog_;  // from the first wait that has a deadline
};

// A message in flight. Its memory must stay until wait has returned true, or else the message has
// been destroyed and Network::settle called. Both ends must give the same number of bytes, but for
// one that is to be received, which may give more.
class Message {
 public:
  // `tag`: messages between two ranks in one direction meet in order among those of one tag. A
  // CommError where the connection or the world has failed.
  static Message send(Network& network, int peer, uint64_t tag, const std::byte* data,
                      int64_t bytes);
  static Message receive(Network& network, int peer, uint64_t tag, std::byte* data, int64_t bytes);
  Message(Message&& other) noexcept;
  ~Message();

  // Until it has arrived, or its memory was read; false where the deadline passes before. CommError
  // where the connection or the world fails.
  bool wait(Clock::time_point deadline = kNever);

 private:
  Message(Network& network, int peer, bool is_send, std::byte* data, int64_t bytes);
  bool wait_once(Clock::time_point deadline);

  Network* network_;
  int peer_;
  bool is_send_;
  std::unique_ptr<::gloo::transport::UnboundBuffer> buffer_;
};

}  // namespace nemo::gloo
