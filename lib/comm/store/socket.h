// TCP sockets of the store, over IPv4 or IPv6.
#pragma once

#include <functional>
#include <string>
#include <utility>

#include "lib/core/clock.h"

namespace nemo {

struct StoreAddress {
  std::string host;  // a name or a number
  int port = 0;
  bool operator==(const StoreAddress&) const = default;
};

// "10.0.0.1:29500", "[::1]:29500"
std::string to_string(const StoreAddress& address);

namespace store {

// A file descriptor of its own.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor();

  int get() const { return fd_; }

 private:
  int fd_ = -1;
};

// Listens at a loopback address where the host is one, else at every address of this machine: the
// name that others know it by may mean another address here. Port 0 = any. A usage error where the
// port is taken.
Descriptor listen_at(const StoreAddress& address);

// The next connection, non-blocking; empty where none is waiting. A usage error where no more can
// be had.
Descriptor accept_from(const Descriptor& listener);

// Connects, trying again until the deadline: the server may not be there yet. `while_waiting` is
// called at least every 100 ms and may throw. CommError when the deadline passes.
Descriptor connect_to(const StoreAddress& address, Clock::time_point deadline,
                      const std::function<void()>& while_waiting);

// The two ends of a connection, in numbers.
StoreAddress local_address(const Descriptor& socket);
StoreAddress peer_address(const Descriptor& socket);

}  // namespace store
}  // namespace nemo
