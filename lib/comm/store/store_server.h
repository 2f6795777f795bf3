// The store's server: a thread that serves the processes of one job. Where the job fails it tells
// them all; service.h says what it knows, store.h what a client may ask.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <string>
#include <thread>

#include "lib/comm/store/message.h"
#include "lib/comm/store/service.h"
#include "lib/comm/store/socket.h"

namespace nemo {

class StoreServer {
 public:
  // Listens where store::listen_at says. `timeout`: for all ranks to join, and to leave after the
  // first that does. `hosted_by`: this process, as messages name it.
  StoreServer(const StoreAddress& address, int world_size, std::chrono::nanoseconds timeout,
              std::string hosted_by);
  // Serves on until every client has gone, 2 s at most: none should take an end for a failure.
  ~StoreServer();
  StoreServer(const StoreServer&) = delete;
  StoreServer& operator=(const StoreServer&) = delete;

  int port() const;

 private:
  using Client = store::Service::Client;
  static constexpr Clock::time_point kNever = Clock::time_point::max();
  struct Connection {
    store::Descriptor socket;
    store::MessageBuffer arrived;
    std::string to_send;
  };

  void serve();
  bool is_done() const;
  int wait_ms() const;
  void handle(Client client, uint32_t events);
  void accept_all();
  void receive(Client client);
  void deliver(Client client);
  void send(Client client, const store::Message& message);
  void watch(Client client, int fd, uint32_t events, bool is_new);
  void drop(Client client, const std::string& how);
  void drop_broken();

  store::Descriptor listener_;
  store::Descriptor epoll_;
  store::Descriptor wake_;
  store::Service service_;
  std::map<Client, Connection> connections_;
  std::map<Client, std::string> broken_;  // to be dropped, and why
  Client next_client_;
  std::atomic<Clock::time_point> stop_deadline_{kNever};
  std::thread thread_;
};

}  // namespace nemo
