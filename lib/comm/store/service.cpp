#include "lib/comm/store/service.h"

#include <algorithm>
#include <utility>

namespace nemo::store {
namespace {

int read_int(BodyReader& body) {
  const int64_t value = body.number();
  if (!std::in_range<int>(value)) throw ProtocolError("a number out of range");
  return static_cast<int>(value);
}

Failure read_failure(BodyReader& body) {
  std::string reason = body.text();
  return {std::move(reason), static_cast<ExitCode>(read_int(body))};
}

BodyWriter write_failure(const Failure& failure) {
  return BodyWriter().text(failure.reason).number(static_cast<int>(failure.exit_code));
}

Progress read_progress(BodyReader& body) {
  const int64_t last_called = body.number();
  return {last_called, body.number() != 0};
}

}  // namespace

Service::Service(int world_size, std::chrono::nanoseconds timeout, std::string hosted_by,
                 Clock::time_point now, Send send)
    : world_size_(world_size),
      hosted_by_(std::move(hosted_by)),
      send_(std::move(send)),
      control_(world_size, timeout, now) {}

void Service::handle(Client client, const Message& message, Clock::time_point now) {
  if (message.kind != MessageKind::kHello && !clients_.contains(client))
    throw ProtocolError("no hello");
  const Request from{client, message.id};
  const BodyReader body(message.body);
  switch (message.kind) {
    case MessageKind::kHello:
      return hello(from, body);
    case MessageKind::kSet:
      return set(from, body);
    case MessageKind::kGet:
      return get(from, body);
    case MessageKind::kAdd:
      return add(from, body);
    case MessageKind::kJoin:
      return join(from, body, now);
    case MessageKind::kLeave:
      return leave(from, now);
    case MessageKind::kFail:
      return fail(client, body, now);
    case MessageKind::kEnded:
      return ended(from, body, now);
    case MessageKind::kHang:
      return hang(from, body, now);
    case MessageKind::kProgress:
      return progress(client, body);
    default:
      throw ProtocolError("no request");
  }
}

void Service::disconnected(Client client, const std::string& how, Clock::time_point now) {
  const auto found = clients_.find(client);
  if (found == clients_.end()) return;
  if (found->second) control_.lost(*found->second, how, now);
  clients_.erase(found);
  const auto of_client = [client](const Request& request) { return request.client == client; };
  std::erase_if(joining_, of_client);
  std::erase_if(leaving_, of_client);
  for (auto& [key, waiting] : getting_) std::erase_if(waiting, of_client);
}

void Service::report(const Failure& failure, Clock::time_point now) {
  control_.report(failure, Evidence::kCause, now);
}

void Service::hello(const Request& from, BodyReader body) {
  if (body.text() != kMagic) throw ProtocolError("another program's hello");
  clients_.try_emplace(from.client);
  reply(from, BodyWriter().text(hosted_by_));
  // A client that comes late learns what the others know.
  if (told_) tell(from.client);
}

void Service::set(const Request& from, BodyReader body) {
  const std::string key = body.text();
  const std::string& value = values_[key] = body.text();
  reply(from);
  reply(getting_[key], BodyWriter().text(value));
  getting_.erase(key);
}

void Service::get(const Request& from, BodyReader body) {
  const std::string key = body.text();
  const auto found = values_.find(key);
  if (found == values_.end())
    getting_[key].push_back(from);
  else
    reply(from, BodyWriter().text(found->second));
}

void Service::add(const Request& from, BodyReader body) {
  const std::string key = body.text();
  int64_t& sum = sums_[key];
  sum += body.number();
  reply(from, BodyWriter().number(sum));
}

void Service::join(const Request& from, BodyReader body, Clock::time_point now) {
  if (clients_[from.client]) throw ProtocolError("a client that joins twice");
  const int rank = read_int(body);
  const int world_size = read_int(body);
  const std::string host = body.text();
  const Member member{rank, host, body.number()};
  try {
    control_.join(member, world_size);
  } catch (const UserError& e) {
    send_(from.client, {MessageKind::kRefusal, from.id, BodyWriter().text(e.what()).body()});
    // A job that is complete has nothing to do with the newcomer.
    if (!control_.all_joined()) control_.report({e.what(), e.code()}, Evidence::kCause, now);
    return;
  }
  clients_[from.client] = rank;
  joining_.push_back(from);
}

void Service::leave(const Request& from, Clock::time_point now) {
  const std::optional<int> rank = clients_[from.client];
  if (!rank) throw ProtocolError("a client that leaves and has not joined");
  control_.leave(*rank, now);
  leaving_.push_back(from);
}

void Service::fail(Client from, BodyReader body, Clock::time_point now) {
  const auto evidence = static_cast<Evidence>(body.number());
  const Failure failure = read_failure(body);
  if (const std::optional<int> rank = clients_[from])
    control_.report(*rank, failure, evidence, now);
  else
    control_.report(failure, evidence, now);
}

void Service::ended(const Request& from, BodyReader body, Clock::time_point now) {
  const int rank = checked_rank(body.number());
  control_.ended(rank, read_failure(body), now);
  reply(from, BodyWriter().number(control_.has_left(rank)));
}

void Service::hang(const Request& from, BodyReader body, Clock::time_point now) {
  Hang hang;
  hang.operation = body.text();
  hang.group = body.number();
  hang.sequence = body.number();
  hang.timeout_s = static_cast<double>(body.number()) * 1e-9;
  for (int64_t left = body.number(); left > 0; --left)
    hang.members.push_back(checked_rank(body.number()));
  hang.is_last = body.number() != 0;
  const int64_t inquiry = num_inquiries_++;
  const BodyWriter question = BodyWriter().number(inquiry).number(hang.group);
  for (const auto& [client, rank] : clients_)
    if (rank && std::ranges::find(hang.members, *rank) != hang.members.end())
      send_(client, {MessageKind::kHowFar, 0, question.body()});
  inquiries_.emplace(inquiry, Inquiry{from, HangInquiry(std::move(hang), now)});
}

void Service::progress(Client from, BodyReader body) {
  const std::optional<int> rank = clients_[from];
  const auto inquiry = inquiries_.find(body.number());
  if (rank && inquiry != inquiries_.end()) inquiry->second.hang.answer(*rank, read_progress(body));
}

void Service::settle(Clock::time_point now) {
  settle_inquiries(now);
  settle_verdict(now);
  settle_members();
}

void Service::settle_inquiries(Clock::time_point now) {
  std::erase_if(inquiries_, [&](const auto& numbered) {
    const auto& [from, hang] = numbered.second;
    if (!hang.is_over(now)) return false;
    if (hang.is_for_others())
      reply(from);
    else
      control_.report({hang.message(), ExitCode::kRankLost}, Evidence::kCause, now);
    return true;
  });
}

void Service::settle_verdict(Clock::time_point now) {
  if (told_) return;
  told_ = control_.verdict(now);
  if (!told_) return;
  for (const auto& [client, rank] : clients_) tell(client);
}

void Service::settle_members() {
  if (control_.all_joined() && !joining_.empty()) {
    BodyWriter members;
    for (const Member& member : control_.members()) members.text(member.host).number(member.pid);
    reply(joining_, members);
  }
  if (!control_.all_left()) return;
  for (const Request& request : leaving_)
    send_(request.client, {MessageKind::kAllLeft, request.id, {}});
  leaving_.clear();
}

std::optional<Clock::time_point> Service::next_deadline() const {
  std::optional<Clock::time_point> next = control_.next_deadline();
  for (const auto& [number, inquiry] : inquiries_)
    next = next ? std::min(*next, inquiry.hang.due()) : inquiry.hang.due();
  return next;
}

void Service::tell(Client client) {
  send_(client, {MessageKind::kFailure, 0, write_failure(*told_).body()});
}

void Service::reply(const Request& to, const BodyWriter& body) {
  send_(to.client, {MessageKind::kReply, to.id, body.body()});
}

void Service::reply(std::vector<Request>& to, const BodyWriter& body) {
  for (const Request& request : to) reply(request, body);
  to.clear();
}

int Service::checked_rank(int64_t rank) const {
  if (rank < 0 || rank >= world_size_) throw ProtocolError("a rank that is not");
  return static_cast<int>(rank);
}

}  // namespace nemo::store
