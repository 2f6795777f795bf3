#include "lib/comm/store/store_server.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

namespace nemo {
namespace {

using store::Descriptor;
using store::Message;
using store::ProtocolError;

// What epoll names its descriptors; clients count on from there.
constexpr uint64_t kListener = 0;
constexpr uint64_t kWake = 1;
constexpr uint64_t kFirstClient = 2;
constexpr std::chrono::seconds kDrain{2};

std::string how_it_ended(int error) {
  if (error == 0 || error == ECONNRESET || error == EPIPE)
    return "died; its connection to the store closed";
  return fmt::format("lost; its host does not answer: {}", std::generic_category().message(error));
}

}  // namespace

StoreServer::StoreServer(const StoreAddress& address, int world_size,
                         std::chrono::nanoseconds timeout, std::string hosted_by)
    : listener_(store::listen_at(address)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      service_(world_size, timeout, std::move(hosted_by), Clock::now(),
               [this](Client client, const Message& message) { send(client, message); }),
      next_client_(kFirstClient) {
  watch(kListener, listener_.get(), EPOLLIN, true);
  watch(kWake, wake_.get(), EPOLLIN, true);
  thread_ = std::thread([this] { serve(); });
}

StoreServer::~StoreServer() {
  stop_deadline_ = Clock::now() + kDrain;
  eventfd_write(wake_.get(), 1);
  thread_.join();
}

int StoreServer::port() const {
  return store::local_address(listener_).port;
}

void StoreServer::serve() {
  while (!is_done()) {
    std::array<epoll_event, 64> events;
    const int num_events = epoll_wait(epoll_.get(), events.data(), events.size(), wait_ms());
    for (int i = 0; i < num_events; ++i)
      handle(events[static_cast<size_t>(i)].data.u64, events[static_cast<size_t>(i)].events);
    service_.settle(Clock::now());
    drop_broken();
  }
}

bool StoreServer::is_done() const {
  const Clock::time_point deadline = stop_deadline_.load();
  return deadline != kNever && (connections_.empty() || Clock::now() >= deadline);
}

int StoreServer::wait_ms() const {
  const Clock::time_point next =
      std::min(service_.next_deadline().value_or(kNever), stop_deadline_.load());
  if (next == kNever) return -1;
  // Rounded up, so that it is not early.
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 60'000));
}

void StoreServer::handle(Client client, uint32_t events) {
  if (client == kListener) return accept_all();
  if (client == kWake) {
    eventfd_t count;
    eventfd_read(wake_.get(), &count);
    return;
  }
  if ((events & EPOLLOUT) != 0) deliver(client);
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) receive(client);
}

void StoreServer::accept_all() {
  try {
    for (;;) {
      Descriptor socket = store::accept_from(listener_);
      if (socket.get() < 0) return;
      const Client client = next_client_++;
      watch(client, socket.get(), EPOLLIN, true);
      connections_[client].socket = std::move(socket);
    }
  } catch (const UserError& e) {
    service_.report({e.what(), e.code()}, Clock::now());
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listener_.get(), nullptr);
  }
}

void StoreServer::receive(Client client) {
  const auto found = connections_.find(client);
  if (found == connections_.end()) return;
  std::array<char, 65536> bytes;
  const ssize_t n = recv(found->second.socket.get(), bytes.data(), bytes.size(), 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) return drop(client, how_it_ended(n == 0 ? 0 : errno));
  found->second.arrived.append(bytes.data(), static_cast<size_t>(n));
  try {
    while (const auto message = found->second.arrived.next())
      service_.handle(client, *message, Clock::now());
  } catch (const ProtocolError&) {
    drop(client, how_it_ended(0));
  }
}

void StoreServer::send(Client client, const Message& message) {
  const auto found = connections_.find(client);
  if (found == connections_.end()) return;
  const bool had_room = found->second.to_send.empty();
  found->second.to_send += encode(message);
  if (had_room) deliver(client);
}

// As much as the socket takes; the rest when it says that it takes more.
void StoreServer::deliver(Client client) {
  const auto found = connections_.find(client);
  if (found == connections_.end() || found->second.to_send.empty()) return;
  auto& [socket, arrived, to_send] = found->second;
  const ssize_t n = ::send(socket.get(), to_send.data(), to_send.size(), MSG_NOSIGNAL);
  if (n < 0 && errno != EAGAIN && errno != EINTR) {
    to_send.clear();
    broken_.emplace(client, how_it_ended(errno));
    return;
  }
  to_send.erase(0, static_cast<size_t>(std::max<ssize_t>(n, 0)));
  watch(client, socket.get(), to_send.empty() ? EPOLLIN : EPOLLIN | EPOLLOUT, false);
}

void StoreServer::watch(Client client, int fd, uint32_t events, bool is_new) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = client;
  const int error = epoll_ctl(epoll_.get(), is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event);
  NEMO_CHECK(error == 0, "[store] epoll: {}", std::generic_category().message(errno));
}

void StoreServer::drop(Client client, const std::string& how) {
  service_.disconnected(client, how, Clock::now());
  connections_.erase(client);
  broken_.erase(client);
}

// Not while something is being sent to all: dropping one changes who they are.
void StoreServer::drop_broken() {
  while (!broken_.empty()) {
    const auto [client, how] = *broken_.begin();
    drop(client, how);
    service_.settle(Clock::now());
  }
}

}  // namespace nemo
