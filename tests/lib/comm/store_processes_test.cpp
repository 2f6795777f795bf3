// The store between processes: what happens when one is killed or stopped.
#include <doctest/doctest.h>
#include <signal.h>
#include <unistd.h>

#include <functional>
#include <thread>

#include "lib/comm/communicator.h"
#include "lib/comm/store/store.h"
#include "lib/comm/store/store_server.h"
#include "tests/support/forked_child.h"

using namespace nemo;
using namespace std::chrono_literals;

namespace {

// A child that waits for a port and then runs; made while this process has one thread. What it
// returns is its exit code.
class Child {
 public:
  explicit Child(const std::function<int(int port)>& fn)
      : process_([&] {
          close(pipe_.ends[1]);
          int port = 0;
          const bool told = read(pipe_.ends[0], &port, sizeof port) == sizeof port;
          return told ? fn(port) : 99;
        }) {}

  void start(int port) {
    NEMO_CHECK(write(pipe_.ends[1], &port, sizeof port) == sizeof port, "write");
  }
  pid_t pid() const { return process_.pid(); }
  int wait() { return process_.wait(); }

 private:
  struct Pipe {
    Pipe() { NEMO_CHECK(pipe(ends) == 0, "pipe"); }
    ~Pipe() {
      close(ends[0]);
      close(ends[1]);
    }
    int ends[2];
  };

  Pipe pipe_;
  test::ForkedChild process_;
};

Store connect(int port) {
  return Store({"127.0.0.1", port}, {.timeout = 20s});
}

// Rank `rank` of two: joins, says so, and waits for what never comes. 0 where the job's failure is
// `expected` then.
int wait_for_the_end(int port, int rank, const std::function<std::string(int port)>& expected) {
  Store store = connect(port);
  store.join({rank, "here", getpid()}, 2);
  store.set("pid" + std::to_string(rank), std::to_string(getpid()));
  try {
    store.get("never");
  } catch (const CommError& e) {
    return e.what() == expected(port) ? 0 : 1;
  }
  return 2;
}

std::string died(int rank, pid_t pid) {
  return fmt::format("rank {} (pid {}, host here): died; its connection to the store closed", rank,
                     pid);
}

}  // namespace

TEST_CASE("a rank that is killed is named within a second") {
  Child one([](int port) { return wait_for_the_end(port, 1, [](int) { return ""; }); });
  const pid_t victim = one.pid();
  Child zero(
      [&](int port) { return wait_for_the_end(port, 0, [&](int) { return died(1, victim); }); });
  const StoreServer server({"127.0.0.1", 0}, 2, 20s, "the test");
  one.start(server.port());
  zero.start(server.port());
  Store store = connect(server.port());
  store.get("pid0");
  store.get("pid1");
  const auto start = Clock::now();
  kill(victim, SIGKILL);
  CHECK(zero.wait() == 0);
  CHECK(seconds_since(start) < 1);
  CHECK(one.wait() == 128 + SIGKILL);
}

TEST_CASE("a rank that is stopped is not taken for dead, and learns of the end when it goes on") {
  Child one([](int port) { return wait_for_the_end(port, 1, [](int) { return "enough"; }); });
  Child zero([](int port) { return wait_for_the_end(port, 0, [](int) { return "enough"; }); });
  const StoreServer server({"127.0.0.1", 0}, 2, 20s, "the test");
  one.start(server.port());
  zero.start(server.port());
  Store store = connect(server.port());
  store.get("pid0");
  store.get("pid1");
  kill(one.pid(), SIGSTOP);
  std::this_thread::sleep_for(3s);  // keepalive probes begin after 2
  CHECK_FALSE(store.failure());
  store.fail({"enough", ExitCode::kData}, Evidence::kCause);
  CHECK(zero.wait() == 0);
  kill(one.pid(), SIGCONT);
  CHECK(one.wait() == 0);
}

TEST_CASE("when the process that hosts the store is killed, every rank knows that it was") {
  const auto expected = [](int port) {
    return fmt::format(
        "rank 0 (pid 1, host here): died; its store at 127.0.0.1:{} closed the "
        "connection",
        port);
  };
  int from_host[2];
  REQUIRE(pipe(from_host) == 0);
  Child host([&](int) {
    const StoreServer server({"127.0.0.1", 0}, 2, 20s, "rank 0 (pid 1, host here)");
    const int port = server.port();
    if (write(from_host[1], &port, sizeof port) != sizeof port) return 1;
    for (;;) pause();
  });
  Child one([&](int port) { return wait_for_the_end(port, 1, expected); });
  Child zero([&](int port) { return wait_for_the_end(port, 0, expected); });
  host.start(1);
  int port = 0;
  REQUIRE(read(from_host[0], &port, sizeof port) == sizeof port);
  one.start(port);
  zero.start(port);
  {
    Store store = connect(port);
    store.get("pid0");
    store.get("pid1");
  }
  kill(host.pid(), SIGKILL);
  CHECK(zero.wait() == 0);
  CHECK(one.wait() == 0);
  close(from_host[0]);
  close(from_host[1]);
}
