// A process's end of the job's store: rendezvous by keys and values, who the ranks are, and what
// the job fails with.
//
// Every call but the constructor may come from any thread. A call waits for its answer; it ends
// with a CommError where the job fails meanwhile, where the store is gone (the job has failed then)
// or after Options::timeout.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "lib/comm/rendezvous.h"
#include "lib/comm/store/job.h"
#include "lib/comm/store/message.h"
#include "lib/comm/store/socket.h"

namespace nemo {

class Store final : public Rendezvous {
 public:
  struct Options {
    std::chrono::nanoseconds timeout;
    // Called at least every 100 ms of a wait, by the one who waits; may throw.
    std::function<void()> while_waiting = [] {};
  };

  // Connects to the server, which may start later.
  Store(const StoreAddress& server, Options options);
  ~Store() override;
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  void set(std::string_view key, std::string_view value) override;
  std::string get(std::string_view key) override;
  // Adds to a counter that begins at 0 and returns the sum. A counter is no value.
  int64_t add(std::string_view key, int64_t number);

  // Makes this process a rank of the job; returns all ranks, once all have joined. From now on
  // the end of this process before leave() is a failure of the job. A usage error where the
  // job has no place for it.
  std::vector<Member> join(const Member& self, int world_size);
  // After the last step; returns when every rank has done so.
  void leave();

  // Tells the job that it has failed, and returns what all its processes end with: somebody may
  // have been first, or may know better. Where the server does not answer for 2 s, `failure`.
  Failure fail(const Failure& failure, Evidence evidence);
  // The same by a rank that waited in vain: the server finds out for whom. Nothing where all that
  // it misses wait for others, who then are to say so; the rank may wait as long again.
  std::optional<Failure> fail(const Hang& hang);
  // By a launcher, whose child has ended: what the job ends with then. Nothing where that rank has
  // left.
  std::optional<Failure> report_end(int rank, const Failure& failure);

  // What the job has failed with.
  std::optional<Failure> failure() const;
  // `tell` is called once, when the job fails or now where it has: by the thread that learns it,
  // and not after another on_failure has returned.
  void on_failure(std::function<void(const Failure&)> tell);
  // `how_far` answers for Hang. Called by the watching thread.
  void on_how_far(std::function<Progress(int64_t group)> how_far);

  // The ends of the connection, in numbers: how this machine is reached by the server's.
  StoreAddress local_address() const { return store::local_address(socket_); }
  StoreAddress server_address() const { return store::peer_address(socket_); }

 private:
  void close();
  std::string request(store::MessageKind kind, const store::BodyWriter& body,
                      std::string_view what);
  // Nothing where the job fails meanwhile, or the time is up.
  std::optional<store::Message> wait_for_reply(uint32_t id, std::chrono::nanoseconds patience);
  Failure wait_for_verdict(const Failure& otherwise);
  uint32_t send(store::MessageKind kind, const store::BodyWriter& body);
  void watch();
  void receive(const store::Message& message);
  void set_lost(int error);
  void set_failure(const Failure& failure);
  void tell_failure();

  StoreAddress server_;
  Options options_;
  store::Descriptor socket_;

  std::mutex sending_;
  uint32_t last_id_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint32_t, store::Message> replies_;
  std::optional<Failure> failure_;
  std::string hosted_by_;  // empty until the server has said hello
  bool closing_ = false;   // the server's end is none of the job's

  std::mutex calling_;
  std::function<void(const Failure&)> tell_;
  std::function<Progress(int64_t)> how_far_;

  std::thread watcher_;
};

}  // namespace nemo
