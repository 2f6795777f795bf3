#include "lib/comm/store/store.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <system_error>

#include "lib/comm/communicator.h"

namespace nemo {

using store::BodyReader;
using store::BodyWriter;
using store::Message;
using store::MessageKind;

namespace {

// A wait looks up this often.
constexpr std::chrono::milliseconds kSlice{50};
// The server has the first word on a timeout, because it knows who is late.
constexpr std::chrono::seconds kSlack{2};
constexpr std::chrono::seconds kPatience{2};

BodyWriter write_failure(BodyWriter body, const Failure& failure) {
  return body.text(failure.reason).number(static_cast<int>(failure.exit_code));
}

}  // namespace

Store::Store(const StoreAddress& server, Options options)
    : server_(server),
      options_(std::move(options)),
      socket_(store::connect_to(server, Clock::now() + options_.timeout, options_.while_waiting)) {
  watcher_ = std::thread([this] { watch(); });
  try {
    const std::string host =
        BodyReader(request(MessageKind::kHello, BodyWriter().text(store::kMagic), "hello")).text();
    const std::lock_guard lock(mutex_);
    hosted_by_ = host;
  } catch (...) {
    close();
    throw;
  }
}

Store::~Store() {
  close();
}

void Store::close() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  shutdown(socket_.get(), SHUT_RDWR);
  watcher_.join();
}

void Store::set(std::string_view key, std::string_view value) {
  request(MessageKind::kSet, BodyWriter().text(key).text(value), key);
}

std::string Store::get(std::string_view key) {
  return BodyReader(request(MessageKind::kGet, BodyWriter().text(key), key)).text();
}

int64_t Store::add(std::string_view key, int64_t number) {
  return BodyReader(request(MessageKind::kAdd, BodyWriter().text(key).number(number), key))
      .number();
}

std::vector<Member> Store::join(const Member& self, int world_size) {
  const std::string reply = request(
      MessageKind::kJoin,
      BodyWriter().number(self.rank).number(world_size).text(self.host).number(self.pid), "join");
  BodyReader body(reply);
  std::vector<Member> members;
  for (int rank = 0; rank < world_size; ++rank) {
    std::string host = body.text();
    members.push_back({rank, std::move(host), body.number()});
  }
  return members;
}

void Store::leave() {
  request(MessageKind::kLeave, BodyWriter(), "leave");
}

Failure Store::fail(const Failure& failure, Evidence evidence) {
  send(MessageKind::kFail, write_failure(BodyWriter().number(static_cast<int>(evidence)), failure));
  return wait_for_verdict(failure);
}

std::optional<Failure> Store::fail(const Hang& hang) {
  BodyWriter body;
  body.text(hang.operation).number(hang.group).number(hang.sequence);
  body.number(static_cast<int64_t>(hang.timeout_s * 1e9)).number(std::ssize(hang.members));
  for (const int rank : hang.members) body.number(rank);
  body.number(hang.is_last);
  if (wait_for_reply(send(MessageKind::kHang, body), kPatience)) return std::nullopt;
  const std::lock_guard lock(mutex_);
  return failure_.value_or(Failure{
      fmt::format("{}: {}, which hosts the store, is not responding within {:g} s; find what holds "
                  "it up, or raise trainer.comm_timeout_s",
                  hang.operation, hosted_by_, hang.timeout_s),
      ExitCode::kRankLost});
}

std::optional<Failure> Store::report_end(int rank, const Failure& failure) {
  const BodyWriter body = write_failure(BodyWriter().number(rank), failure);
  const auto reply = wait_for_reply(send(MessageKind::kEnded, body), kPatience);
  const bool has_left = reply && BodyReader(reply->body).number() != 0;
  return has_left ? std::nullopt : std::optional(wait_for_verdict(failure));
}

std::optional<Failure> Store::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

void Store::on_failure(std::function<void(const Failure&)> tell) {
  {
    const std::lock_guard calling(calling_);
    tell_ = std::move(tell);
  }
  tell_failure();
}

void Store::on_how_far(std::function<Progress(int64_t)> how_far) {
  const std::lock_guard calling(calling_);
  how_far_ = std::move(how_far);
}

std::string Store::request(MessageKind kind, const BodyWriter& body, std::string_view what) {
  const auto reply = wait_for_reply(send(kind, body), options_.timeout + kSlack);
  if (!reply) {
    const double seconds = std::chrono::duration<double>(options_.timeout).count();
    throw CommError(failure()
                        .value_or(Failure{fmt::format("[store] {}: no answer from {} within {:g} s",
                                                      what, to_string(server_), seconds),
                                          ExitCode::kRankLost})
                        .reason);
  }
  if (reply->kind == MessageKind::kRefusal) throw_usage("{}", BodyReader(reply->body).text());
  return reply->body;
}

std::optional<Message> Store::wait_for_reply(uint32_t id, std::chrono::nanoseconds patience) {
  const Clock::time_point deadline = Clock::now() + patience;
  std::unique_lock lock(mutex_);
  const auto is_over = [&] { return replies_.contains(id) || failure_; };
  while (!is_over() && Clock::now() < deadline) {
    lock.unlock();
    options_.while_waiting();
    lock.lock();
    changed_.wait_for(lock, kSlice, is_over);
  }
  const auto reply = replies_.extract(id);
  return reply ? std::optional(reply.mapped()) : std::nullopt;
}

Failure Store::wait_for_verdict(const Failure& otherwise) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kPatience, [&] { return failure_.has_value(); });
  return failure_.value_or(otherwise);
}

// What cannot be sent need not be: the watcher learns why.
uint32_t Store::send(MessageKind kind, const BodyWriter& body) {
  NEMO_CHECK(body.body().size() < store::MessageBuffer::kMostBytes / 2, "[store] {} bytes",
             body.body().size());
  const std::lock_guard sending(sending_);
  const uint32_t id = ++last_id_;
  const std::string frame = store::encode({kind, id, body.body()});
  for (size_t sent = 0; sent < frame.size();) {
    const ssize_t n = ::send(socket_.get(), frame.data() + sent, frame.size() - sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    sent += static_cast<size_t>(n);
  }
  return id;
}

void Store::watch() {
  store::MessageBuffer arrived;
  std::array<char, 65536> bytes;
  try {
    for (;;) {
      const ssize_t n = recv(socket_.get(), bytes.data(), bytes.size(), 0);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return set_lost(n == 0 ? 0 : errno);
      arrived.append(bytes.data(), static_cast<size_t>(n));
      while (const auto message = arrived.next()) receive(*message);
    }
  } catch (const store::ProtocolError&) {
    set_lost(0);
  }
}

void Store::receive(const Message& message) {
  BodyReader body(message.body);
  if (message.kind == MessageKind::kFailure) {
    const std::string reason = body.text();
    return set_failure({reason, static_cast<ExitCode>(body.number())});
  }
  if (message.kind == MessageKind::kHowFar) {
    const int64_t inquiry = body.number();
    const std::lock_guard calling(calling_);
    if (!how_far_) return;
    const Progress progress = how_far_(body.number());
    send(MessageKind::kProgress,
         BodyWriter().number(inquiry).number(progress.last_called).number(progress.waits));
    return;
  }
  const std::lock_guard lock(mutex_);
  if (message.kind == MessageKind::kAllLeft) closing_ = true;
  replies_[message.id] = message;
  changed_.notify_all();
}

void Store::set_lost(int error) {
  const std::string at = to_string(server_);
  const bool closed = error == 0 || error == ECONNRESET || error == EPIPE;
  const std::string why = std::generic_category().message(error);
  std::string reason;
  {
    const std::lock_guard lock(mutex_);
    if (closing_) return;
    if (hosted_by_.empty())
      reason = fmt::format("[store] {} did not answer; see that it is rank 0 of this job", at);
    else if (closed)
      reason = fmt::format("{}: died; its store at {} closed the connection", hosted_by_, at);
    else
      reason = fmt::format("{}: lost; its store at {} does not answer: {}", hosted_by_, at, why);
  }
  set_failure({reason, ExitCode::kRankLost});
}

void Store::set_failure(const Failure& failure) {
  {
    const std::lock_guard lock(mutex_);
    if (failure_) return;
    failure_ = failure;
    changed_.notify_all();
  }
  tell_failure();
}

void Store::tell_failure() {
  const std::lock_guard calling(calling_);
  const std::optional<Failure> known = failure();
  if (known && tell_) std::exchange(tell_, nullptr)(*known);
}

}  // namespace nemo
