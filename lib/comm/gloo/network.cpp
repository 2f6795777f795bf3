#include "lib/comm/gloo/network.h"

#include <gloo/transport/context.h>
#include <gloo/transport/tcp/address.h>
#include <gloo/transport/tcp/device.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cstring>

#include "lib/comm/gloo/sigpipe_guard.h"
#include "lib/comm/shared/process_host.h"

namespace nemo::gloo {
namespace {

namespace transport = ::gloo::transport;

// Gloo closes every connection when a wait of its own times out, so none does: waits are broken
// off instead.
constexpr std::chrono::hours kForever{1000};
// Gloo gives a connection five of its timeouts to come about.
constexpr int kConnectTimeouts = 5;

bool is_loopback(const std::string& address) {
  return address.starts_with("127.") || address == "::1";
}

// Where the others reach this rank: as the store's server does, over the network that was chosen
// for it. A rank on the server's own host may have reached it over loopback; it is then known by
// what the others call the server.
std::string own_address(Store& store, int rank, int size) {
  const std::string local = store.local_address().host;
  const std::vector<std::string> servers =
      gather(store, rank, size, "gloo/server", store.server_address().host);
  if (!is_loopback(local)) return local;
  const auto known = std::ranges::find_if_not(servers, is_loopback);
  return known == servers.end() ? local : *known;
}

// What Gloo's thread inherits of the one that starts it. It tries the lock of a connection again
// and again while another thread sends; where cores are short it must not take the core of that
// thread the moment there is something to read.
class GlooThreadSettings {
 public:
  GlooThreadSettings() {
    pthread_getschedparam(pthread_self(), &policy_, &parameters_);
    if (policy_ == SCHED_OTHER) pthread_setschedparam(pthread_self(), SCHED_BATCH, &parameters_);
  }
  ~GlooThreadSettings() { pthread_setschedparam(pthread_self(), policy_, &parameters_); }
  GlooThreadSettings(const GlooThreadSettings&) = delete;
  GlooThreadSettings& operator=(const GlooThreadSettings&) = delete;

 private:
  SigpipeGuard guard_;
  int policy_ = 0;
  sched_param parameters_{};
};

// Gloo's thread looks after changes of its connections when something happens or 10 ms have passed,
// and whoever connects or closes one waits for that. While this lives it looks at once.
class Attention final : public transport::tcp::Handler {
 public:
  explicit Attention(transport::tcp::Device& device) : device_(device), event_(eventfd(1, 0)) {
    device_.registerDescriptor(event_.get(), EPOLLIN, this);
  }
  ~Attention() override {
    device_.unregisterDescriptor(event_.get(), this);
    const std::lock_guard lock(mutex_);  // after the last call of handleEvents, for ThreadSanitizer
  }
  Attention(const Attention&) = delete;
  Attention& operator=(const Attention&) = delete;

  // Until the thread has ended what it was doing when this was made.
  void wait() {
    std::unique_lock lock(mutex_);
    attended_.wait(lock, [this] { return is_attended_; });
  }

 private:
  void handleEvents(int) override {
    std::this_thread::sleep_for(std::chrono::microseconds(100));
    const std::lock_guard lock(mutex_);
    is_attended_ = true;
    attended_.notify_all();
  }

  transport::tcp::Device& device_;
  store::Descriptor event_;
  std::mutex mutex_;
  std::condition_variable attended_;
  bool is_attended_ = false;
};

// The port and the rest of an address of Gloo's, which is a sockaddr and a number.
uint16_t port_of(const std::vector<char>& address) {
  sockaddr_in in;
  std::memcpy(&in, address.data(), sizeof in);
  return in.sin_port;
}

std::vector<char> with_port(const std::string& address, uint16_t port) {
  static_assert(offsetof(sockaddr_in, sin_port) == offsetof(sockaddr_in6, sin6_port));
  std::vector<char> bytes(address.begin(), address.end());
  std::memcpy(bytes.data() + offsetof(sockaddr_in, sin_port), &port, sizeof port);
  return bytes;
}

// What Gloo says, without its place in Gloo's source.
std::string text_of(const std::exception& error) {
  const std::string text = error.what();
  const size_t end = text.starts_with('[') ? text.find("] ") : std::string::npos;
  return end == std::string::npos ? text : text.substr(end + 2);
}

}  // namespace

Network::Network(Store& store, std::shared_ptr<ProcessHost> host, int rank, int size,
                 std::chrono::nanoseconds timeout)
    : store_(store),
      host_(std::move(host)),
      rank_(rank),
      timeout_(timeout),
      is_connected_(static_cast<size_t>(size)) {
  const std::string address = own_address(store, rank, size);
  try {
    const GlooThreadSettings settings;
    auto device = std::dynamic_pointer_cast<transport::tcp::Device>(
        transport::tcp::CreateDevice(transport::tcp::attr(address.c_str())));
    context_ = device->createContext(rank, size);
    device_ = std::move(device);
  } catch (const std::exception& e) {
    throw_usage("[launch] rank {} cannot be reached at {}: {}", rank, address, text_of(e));
  }
  context_->setTimeout(std::chrono::ceil<std::chrono::milliseconds>(timeout / kConnectTimeouts));
}

Network::~Network() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  message_waits_changed_.notify_all();
  if (watchdog_.joinable()) watchdog_.join();
  const Attention attention(*device_);
  context_.reset();
}

void Network::connect(std::span<const int> members, std::string_view key) {
  const int num_members = static_cast<int>(members.size());
  const auto self = static_cast<int>(std::ranges::find(members, rank_) - members.begin());
  std::string addresses;  // one, and the port for each member
  std::vector<uint16_t> ports(members.size());
  std::vector<int> peers;  // among members
  try {
    for (int i = 0; i < num_members; ++i) {
      const int peer = members[static_cast<size_t>(i)];
      if (i == self || is_connected_[static_cast<size_t>(peer)]) continue;
      const std::vector<char> address = context_->createPair(peer)->address().bytes();
      addresses.assign(address.begin(), address.end());
      ports[static_cast<size_t>(i)] = port_of(address);
      peers.push_back(i);
    }
  } catch (const std::exception& e) {
    throw_usage("[launch] rank {} cannot listen: {}", rank_, text_of(e));
  }
  const Attention attention(*device_);
  const size_t ports_bytes = ports.size() * sizeof(uint16_t);
  addresses.append(reinterpret_cast<const char*>(ports.data()), ports_bytes);
  const auto published =
      gather(store_, self, num_members, fmt::format("gloo/connect/{}", key), addresses);
  for (const int i : peers) {
    const std::string& theirs = published[static_cast<size_t>(i)];
    const size_t address_bytes = theirs.size() - ports_bytes;
    std::memcpy(ports.data(), theirs.data() + address_bytes, ports_bytes);
    connect(members[static_cast<size_t>(i)], ports[static_cast<size_t>(self)],
            theirs.substr(0, address_bytes));
  }
}

// Closing the pair breaks its connecting off, and it looks connected then.
void Network::connect(int peer, uint16_t port, const std::string& address) {
  transport::Pair* pair = context_->getPair(peer).get();
  {
    const std::lock_guard lock(mutex_);
    if (!poisoned_) connecting_ = pair;
  }
  if (!is_poisoned()) {
    try {
      pair->connect(with_port(address, port));
    } catch (const std::exception& e) {
      fail(fmt::format("[comm] rank {} cannot connect to rank {}: {}", rank_, peer, text_of(e)),
           Evidence::kEcho);
    }
  }
  {
    const std::lock_guard lock(mutex_);
    connecting_ = nullptr;
  }
  if (is_poisoned()) raise();
  is_connected_[static_cast<size_t>(peer)] = true;
}

void Network::poison(const std::string& reason) noexcept {
  const std::lock_guard lock(mutex_);
  if (poisoned_) return;
  reason_ = reason;
  poisoned_ = true;
  if (connecting_) connecting_->close();
  for (const Wait& wait : message_waits_) {
    wait.buffer->abortWaitSend();
    wait.buffer->abortWaitRecv();
  }
  if (host_) host_->poison(reason);
}

void Network::raise() const {
  const std::lock_guard lock(mutex_);
  throw CommError(reason_);
}

void Network::fail(const std::string& reason, Evidence evidence) noexcept {
  if (!is_poisoned()) poison(store_.fail({reason, ExitCode::kRankLost}, evidence).reason);
}

bool Network::fail(const Hang& hang) noexcept {
  if (is_poisoned()) return true;
  const std::optional<Failure> verdict = store_.fail(hang);
  if (verdict) poison(verdict->reason);
  return verdict.has_value();
}

void Network::set_waits(bool waits) {
  waits_ = waits;
  if (host_) host_->set_waits_elsewhere(waits);
}

void Network::settle() noexcept {
  Attention(*device_).wait();
}

void Network::set_called(int64_t key, int64_t sequence) {
  const std::lock_guard lock(mutex_);
  last_called_[key] = sequence;
}

Progress Network::how_far(int64_t key) const {
  const std::lock_guard lock(mutex_);
  const auto called = last_called_.find(key);
  return {.last_called = called == last_called_.end() ? -1 : called->second,
          .waits = waits_ || (host_ && host_->waits())};
}

std::list<Network::Wait>::iterator Network::begin_wait(transport::UnboundBuffer* buffer,
                                                       Clock::time_point deadline) {
  const std::lock_guard lock(mutex_);
  if (poisoned_) throw CommError(reason_);
  if (deadline != kNever) {
    if (!watchdog_.joinable()) watchdog_ = std::thread([this] { watch(); });
    message_waits_changed_.notify_all();
  }
  return message_waits_.insert(message_waits_.end(), {buffer, deadline});
}

void Network::end_wait(std::list<Wait>::iterator wait) {
  const std::lock_guard lock(mutex_);
  message_waits_.erase(wait);
}

void Network::watch() {
  std::unique_lock lock(mutex_);
  while (!closing_) {
    const Clock::time_point now = Clock::now();
    Clock::time_point next = now + std::chrono::hours(1);
    for (Wait& wait : message_waits_) {
      if (wait.deadline <= now) {
        wait.buffer->abortWaitSend();
        wait.buffer->abortWaitRecv();
        wait.deadline = kNever;
      }
      next = std::min(next, wait.deadline);
    }
    message_waits_changed_.wait_until(lock, next);
  }
}

Message::Message(Network& network, int peer, bool is_send, std::byte* data, int64_t bytes)
    : network_(&network),
      peer_(peer),
      is_send_(is_send),
      buffer_(network.context_->createUnboundBuffer(data, static_cast<size_t>(bytes))) {}

Message::Message(Message&& other) noexcept = default;
Message::~Message() = default;

namespace {

[[noreturn]] void fail_connection(Network& network, int peer, const std::exception& e) {
  network.fail(fmt::format("[comm] rank {} lost its connection to rank {}: {}", network.rank(),
                           peer, text_of(e)),
               Evidence::kEcho);
  network.raise();
}

}  // namespace

Message Message::send(Network& network, int peer, uint64_t tag, const std::byte* data,
                      int64_t bytes) {
  if (network.is_poisoned()) network.raise();
  Message message(network, peer, true, const_cast<std::byte*>(data), bytes);
  try {
    const SigpipeGuard guard;
    message.buffer_->send(peer, tag);
  } catch (const std::exception& e) {
    fail_connection(network, peer, e);
  }
  return message;
}

Message Message::receive(Network& network, int peer, uint64_t tag, std::byte* data, int64_t bytes) {
  if (network.is_poisoned()) network.raise();
  Message message(network, peer, false, data, bytes);
  try {
    const SigpipeGuard guard;
    message.buffer_->recv(peer, tag);
  } catch (const std::exception& e) {
    fail_connection(network, peer, e);
  }
  return message;
}

bool Message::wait(Clock::time_point deadline) {
  while (!wait_once(deadline))
    if (Clock::now() >= deadline) return false;
  return true;
}

// False where it was broken off.
bool Message::wait_once(Clock::time_point deadline) {
  struct Registration {
    ~Registration() { network.end_wait(wait); }
    Network& network;
    std::list<Network::Wait>::iterator wait;
  };
  const Registration registration{*network_, network_->begin_wait(buffer_.get(), deadline)};
  try {
    return is_send_ ? buffer_->waitSend(kForever) : buffer_->waitRecv(kForever);
  } catch (const std::exception& e) {
    fail_connection(*network_, peer_, e);
  }
}

}  // namespace nemo::gloo
