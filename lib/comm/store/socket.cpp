#include "lib/comm/store/socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>
#include <thread>

#include "lib/comm/communicator.h"

namespace nemo {

std::string to_string(const StoreAddress& address) {
  const bool is_ipv6 = address.host.find(':') != std::string::npos;
  return is_ipv6 ? fmt::format("[{}]:{}", address.host, address.port)
                 : fmt::format("{}:{}", address.host, address.port);
}

namespace store {
namespace {

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

std::string message_of(int error) {
  return std::generic_category().message(error);
}

// `problem` is set where there are none.
Addresses resolve_name(const StoreAddress& address, std::string& problem) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const std::string port = std::to_string(address.port);
  const int error = getaddrinfo(address.host.c_str(), port.c_str(), &hints, &found);
  if (error != 0) problem = error == EAI_SYSTEM ? message_of(errno) : gai_strerror(error);
  return {error == 0 ? found : nullptr, freeaddrinfo};
}

bool is_loopback(const addrinfo& address) {
  if (address.ai_family == AF_INET) {
    sockaddr_in ipv4;
    std::memcpy(&ipv4, address.ai_addr, sizeof ipv4);
    // Not 127.0.1.1, by which Debian knows a machine's own name.
    return ipv4.sin_addr.s_addr == htonl(INADDR_LOOPBACK);
  }
  sockaddr_in6 ipv6;
  std::memcpy(&ipv6, address.ai_addr, sizeof ipv6);
  return IN6_IS_ADDR_LOOPBACK(&ipv6.sin6_addr);
}

void set_option(const Descriptor& socket, int level, int option, int value) {
  NEMO_CHECK(setsockopt(socket.get(), level, option, &value, sizeof value) == 0,
             "[store] socket option {} of level {}: {}", option, level, message_of(errno));
}

// A host that is lost is noticed within 10 s; a process that is stopped is not taken for dead,
// because its kernel answers for it.
void set_options(const Descriptor& socket) {
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, 2);
  set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, 1);
  set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, 5);
  set_option(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, 8000);
}

[[noreturn]] void throw_cannot_listen(const StoreAddress& address, const std::string& why) {
  throw_usage("[store] cannot listen at {}: {}; another MASTER_PORT may do", to_string(address),
              why);
}

Descriptor listen_on(const addrinfo& at, std::string& problem) {
  Descriptor socket(::socket(at.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (socket.get() >= 0) {
    set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1);
    if (at.ai_family == AF_INET6) set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (bind(socket.get(), at.ai_addr, at.ai_addrlen) == 0 && listen(socket.get(), SOMAXCONN) == 0)
      return socket;
  }
  problem = message_of(errno);
  return {};
}

// Waits until a connection that is being made stands or fails; its errno, 0 = stands.
int finish_connecting(const Descriptor& socket, Clock::time_point deadline,
                      const std::function<void()>& while_waiting) {
  for (;;) {
    pollfd wait = {socket.get(), POLLOUT, 0};
    if (poll(&wait, 1, 100) > 0) break;
    while_waiting();
    if (Clock::now() >= deadline) return ETIMEDOUT;
  }
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

// Empty where nobody answers there; `problem` says why. An address that drops what is sent to it
// gets 5 s, so that the next one has its turn.
Descriptor try_connect(const addrinfo& at, Clock::time_point deadline,
                       const std::function<void()>& while_waiting, std::string& problem) {
  Descriptor socket(::socket(at.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  int error = errno;
  if (socket.get() >= 0) {
    set_options(socket);
    error = connect(socket.get(), at.ai_addr, at.ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS || error == EINTR)
      error = finish_connecting(socket, std::min(deadline, Clock::now() + std::chrono::seconds(5)),
                                while_waiting);
  }
  // Where nobody listens on this machine, the kernel may give the socket that very port as its own.
  if (error == 0 && local_address(socket) == peer_address(socket)) error = ECONNREFUSED;
  if (error == 0) {
    fcntl(socket.get(), F_SETFL, fcntl(socket.get(), F_GETFL) & ~O_NONBLOCK);
    return socket;
  }
  problem = message_of(error);
  return {};
}

using NameOf = int (*)(int, sockaddr*, socklen_t*);

StoreAddress address_of(const Descriptor& socket, NameOf name_of) {
  sockaddr_storage storage{};
  socklen_t size = sizeof storage;
  auto* address = reinterpret_cast<sockaddr*>(&storage);
  char host[NI_MAXHOST] = {};
  char port[NI_MAXSERV] = {};
  NEMO_CHECK(name_of(socket.get(), address, &size) == 0 &&
                 getnameinfo(address, size, host, sizeof host, port, sizeof port,
                             NI_NUMERICHOST | NI_NUMERICSERV) == 0,
             "[store] a socket without an address: {}", message_of(errno));
  std::string text = host;
  if (text.starts_with("::ffff:") && text.find('.') != std::string::npos) text = text.substr(7);
  return {text, std::stoi(port)};
}

}  // namespace

Descriptor::~Descriptor() {
  if (fd_ >= 0) close(fd_);
}

Descriptor listen_at(const StoreAddress& address) {
  std::string problem;
  const Addresses found = resolve_name(address, problem);
  if (!found) throw_cannot_listen(address, problem);
  if (is_loopback(*found)) {
    Descriptor socket = listen_on(*found, problem);
    if (socket.get() < 0) throw_cannot_listen(address, problem);
    return socket;
  }
  for (const char* any : {"::", "0.0.0.0"}) {  // the second where there is no IPv6
    const Addresses everywhere = resolve_name({any, address.port}, problem);
    if (!everywhere) continue;
    Descriptor socket = listen_on(*everywhere, problem);
    if (socket.get() >= 0) return socket;
  }
  throw_cannot_listen(address, problem);
}

Descriptor accept_from(const Descriptor& listener) {
  Descriptor socket(accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (socket.get() >= 0) set_options(socket);
  const bool none_left = errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM;
  if (socket.get() < 0 && none_left)
    throw_usage("[store] no further connection can be had: {}; raise `ulimit -n`",
                message_of(errno));
  return socket;
}

Descriptor connect_to(const StoreAddress& address, Clock::time_point deadline,
                      const std::function<void()>& while_waiting) {
  const Clock::time_point start = Clock::now();
  for (std::string problem;;) {
    const Addresses found = resolve_name(address, problem);
    for (const addrinfo* at = found.get(); at != nullptr; at = at->ai_next) {
      Descriptor socket = try_connect(*at, deadline, while_waiting, problem);
      if (socket.get() >= 0) return socket;
    }
    while_waiting();
    if (Clock::now() >= deadline)
      throw CommError(fmt::format(
          "[store] {} cannot be reached within {:.3g} s: {}; see that rank 0 runs "
          "there, or raise trainer.comm_timeout_s",
          to_string(address), std::chrono::duration<double>(deadline - start).count(), problem));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

StoreAddress local_address(const Descriptor& socket) {
  return address_of(socket, getsockname);
}

StoreAddress peer_address(const Descriptor& socket) {
  return address_of(socket, getpeername);
}

}  // namespace store
}  // namespace nemo
