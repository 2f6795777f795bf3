// What the store does with each message: keys and values, and the control plane. Knows no sockets
// and no clock: the server brings the messages and carries the answers away.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/comm/store/control_plane.h"
#include "lib/comm/store/hang_inquiry.h"
#include "lib/comm/store/message.h"

namespace nemo::store {

class Service {
 public:
  using Client = uint64_t;
  using Send = std::function<void(Client, const Message&)>;

  // `hosted_by`: the process whose end is the store's, as messages name it.
  Service(int world_size, std::chrono::nanoseconds timeout, std::string hosted_by,
          Clock::time_point now, Send send);

  // ProtocolError where the client does not speak the store's language.
  void handle(Client client, const Message& message, Clock::time_point now);
  void disconnected(Client client, const std::string& how, Clock::time_point now);
  void report(const Failure& failure, Clock::time_point now);

  // Answers whoever waits for what has come true; to be called after all of the above, and at
  // next_deadline.
  void settle(Clock::time_point now);
  std::optional<Clock::time_point> next_deadline() const;

 private:
  struct Request {
    Client client;
    uint32_t id;
  };

  void hello(const Request& from, BodyReader body);
  void set(const Request& from, BodyReader body);
  void get(const Request& from, BodyReader body);
  void add(const Request& from, BodyReader body);
  void join(const Request& from, BodyReader body, Clock::time_point now);
  void leave(const Request& from, Clock::time_point now);
  void fail(Client from, BodyReader body, Clock::time_point now);
  void ended(const Request& from, BodyReader body, Clock::time_point now);
  void hang(const Request& from, BodyReader body, Clock::time_point now);
  void progress(Client from, BodyReader body);

  void settle_inquiries(Clock::time_point now);
  void settle_verdict(Clock::time_point now);
  void settle_members();

  void tell(Client client);
  void reply(const Request& to, const BodyWriter& body = {});
  void reply(std::vector<Request>& to, const BodyWriter& body);
  int checked_rank(int64_t rank) const;

  int world_size_;
  std::string hosted_by_;
  Send send_;
  ControlPlane control_;
  std::map<Client, std::optional<int>> clients_;  // all that said hello; the rank of those joined
  std::map<std::string, std::string> values_;
  std::map<std::string, int64_t> sums_;
  std::map<std::string, std::vector<Request>> getting_;
  std::vector<Request> joining_;
  std::vector<Request> leaving_;
  struct Inquiry {
    Request from;
    HangInquiry hang;
  };
  std::map<int64_t, Inquiry> inquiries_;
  int64_t num_inquiries_ = 0;
  std::optional<Failure> told_;  // every client knows it
};

}  // namespace nemo::store
