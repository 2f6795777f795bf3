// The store over real sockets: clients are threads of the test.
#include "lib/comm/store/store.h"

#include <doctest/doctest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <thread>

#include "lib/comm/communicator.h"
#include "lib/comm/store/store_server.h"
#include "tests/support/processes.h"

using namespace nemo;
using test::comes_true;
using namespace std::chrono_literals;

namespace {

constexpr auto kHostedBy = "the launcher (pid 1, host here)";

// A job in this process; `world_size` ranks are to join.
struct Job {
  explicit Job(int world_size_, std::chrono::nanoseconds timeout_ = 20s)
      : world_size(world_size_), timeout(timeout_) {}

  StoreAddress address() const { return {"127.0.0.1", server.port()}; }
  Store::Options options() const { return {.timeout = timeout}; }
  // fn(store) by each rank, joined, on a thread of its own; it leaves unless fn throws.
  void run(const std::function<void(int rank, Store& store)>& fn) {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < world_size; ++rank)
      threads.emplace_back([this, rank, &fn] {
        Store store(address(), options());
        store.join({rank, "here", 1000 + rank}, world_size);
        fn(rank, store);
      });
  }

  int world_size;
  std::chrono::nanoseconds timeout;
  StoreServer server{{"127.0.0.1", 0}, world_size, timeout, kHostedBy};
};

template <typename E, typename F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const E& e) {
    return e.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("a key's value reaches whoever asks, before it is set or after") {
  Job job(1);
  Store one(job.address(), job.options());
  std::string got;
  {
    std::jthread asking([&] {
      Store other(job.address(), job.options());
      got = other.get("key");
    });
    std::this_thread::sleep_for(20ms);
    one.set("key", std::string("a\0b", 3));
  }
  CHECK(got == std::string("a\0b", 3));
  CHECK(one.get("key") == got);
  one.set("key", "");
  CHECK(one.get("key") == "");
}

TEST_CASE("values of a megabyte pass whole") {
  Job job(1);
  std::string value(1 << 20, 'x');
  for (size_t i = 0; i < value.size(); ++i) value[i] = static_cast<char>(i * 7);
  Store one(job.address(), job.options());
  one.set("large", value);
  CHECK(one.get("large") == value);
}

TEST_CASE("a counter gives every caller another number") {
  Job job(1);
  std::vector<std::atomic<int>> seen(401);
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&] {
        Store store(job.address(), job.options());
        for (int i = 0; i < 100; ++i) ++seen[static_cast<size_t>(store.add("n", 1))];
      });
  }
  for (size_t i = 1; i <= 400; ++i) CHECK(seen[i] == 1);
  CHECK(Store(job.address(), job.options()).add("n", -400) == 0);
}

TEST_CASE("one client serves several threads") {
  Job job(1);
  Store store(job.address(), job.options());
  std::atomic<int64_t> sum = 0;
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t)
      threads.emplace_back([&, t] {
        const std::string key = std::to_string(t);
        for (int i = 0; i < 50; ++i) {
          store.set(key, std::to_string(i));
          sum += std::stoi(store.get(key));
        }
      });
  }
  CHECK(sum == 4 * 49 * 50 / 2);
}

TEST_CASE("ranks join together and learn of each other, and leave together") {
  for (int world_size : {1, 2, 5}) {
    Job job(world_size);
    std::vector<std::vector<Member>> rosters(static_cast<size_t>(world_size));
    std::atomic<int> num_joining = 0, num_leaving = 0, num_early = 0;
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < world_size; ++rank)
      threads.emplace_back([&, rank] {
        Store store(job.address(), job.options());
        std::this_thread::sleep_for(rank * 5ms);
        ++num_joining;
        rosters[static_cast<size_t>(rank)] =
            store.join({rank, "node" + std::to_string(rank), 1000 + rank}, world_size);
        if (num_joining != world_size) ++num_early;
        std::this_thread::sleep_for(rank * 5ms);
        ++num_leaving;
        store.leave();
        if (num_leaving != world_size) ++num_early;
      });
    threads.clear();
    CHECK(num_early == 0);
    for (const auto& roster : rosters) {
      REQUIRE(roster.size() == static_cast<size_t>(world_size));
      for (int rank = 0; rank < world_size; ++rank)
        CHECK(to_string(roster[static_cast<size_t>(rank)]) ==
              fmt::format("rank {} (pid {}, host node{})", rank, 1000 + rank, rank));
    }
  }
}

TEST_CASE("a client may come before the server") {
  int port = 0;
  {
    const StoreServer scout({"127.0.0.1", 0}, 1, 1s, kHostedBy);
    port = scout.port();
  }
  std::string got;
  std::jthread early([&] {
    Store store({"127.0.0.1", port}, {.timeout = 20s});
    got = store.get("key");
  });
  std::this_thread::sleep_for(50ms);
  const StoreServer server({"127.0.0.1", port}, 1, 20s, kHostedBy);
  Store({"localhost", port}, {.timeout = 20s}).set("key", "value");
  early.join();
  CHECK(got == "value");
}

TEST_CASE("an address where nobody listens, or that does not exist, is named") {
  int port = 0;
  {
    const StoreServer scout({"127.0.0.1", 0}, 1, 1s, kHostedBy);
    port = scout.port();
  }
  CHECK(error_of<CommError>([&] {
          Store({"127.0.0.1", port}, {.timeout = 100ms});
        }) ==
        fmt::format("[store] 127.0.0.1:{} cannot be reached within 0.1 s: Connection refused; see "
                    "that rank 0 runs there, or raise trainer.comm_timeout_s",
                    port));
  CHECK(error_of<CommError>([&] {
          Store({"no.such.host.invalid", 80}, {.timeout = 100ms});
        }).starts_with("[store] no.such.host.invalid:80 cannot be reached within "));
}

TEST_CASE("a port that is taken is a usage error") {
  const StoreServer first({"127.0.0.1", 0}, 1, 1s, kHostedBy);
  for (const char* host : {"127.0.0.1", "0.0.0.0"})
    CHECK(error_of<UserError>([&] {
            StoreServer({host, first.port()}, 1, 1s, kHostedBy);
          }) == fmt::format("[store] cannot listen at {}:{}: Address already in use; another "
                            "MASTER_PORT may do",
                            host, first.port()));
}

TEST_CASE("a server of other machines is reached at every address") {
  const StoreServer server({"0.0.0.0", 0}, 1, 20s, kHostedBy);
  for (const char* host : {"127.0.0.1", "127.0.0.2", "localhost"}) {
    Store store({host, server.port()}, {.timeout = 20s});
    store.set("key", host);
    CHECK(store.get("key") == host);
    CHECK(store.server_address().port == server.port());
    CHECK(store.local_address().host.starts_with("127.0.0."));
  }
}

TEST_CASE("what is no client of ours does not disturb the job") {
  Job job(1);
  Store store(job.address(), job.options());
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.0\r\n\r\n"), std::string("\xff\xff\xff\xff"),
        std::string("\0\0\0\0", 4), store::encode({store::MessageKind::kGet, 1, "?"}),
        store::encode({store::MessageKind::kHello, 1,
                       store::BodyWriter().text("nemo-cpp store 0").body()})}) {
    const store::Descriptor socket = store::connect_to(job.address(), Clock::now() + 5s, [] {});
    REQUIRE(send(socket.get(), bytes.data(), bytes.size(), 0) == std::ssize(bytes));
    char byte;
    CHECK(recv(socket.get(), &byte, 1, 0) <= 0);  // it is dropped
  }
  store.set("key", "value");
  CHECK(store.get("key") == "value");
  CHECK_FALSE(store.failure());
}

TEST_CASE("ranks that never join are named to those who wait") {
  Job job(4, 300ms);
  std::vector<std::string> errors(2);
  {
    std::vector<std::jthread> threads;
    for (size_t i : {0, 1})
      threads.emplace_back([&, i] {
        Store store(job.address(), job.options());
        const int rank = i == 0 ? 0 : 2;
        errors[i] = error_of<CommError>([&] { store.join({rank, "here", 1}, 4); });
      });
  }
  for (const std::string& error : errors)
    CHECK(error ==
          "[store] ranks 1, 3 of 4 did not join within 0.3 s; find what holds them up, or raise "
          "trainer.comm_timeout_s");
}

TEST_CASE("a second rank of one number ends a job that is not complete, and not one that is") {
  for (bool complete : {false, true}) {
    Job job(2);
    Store zero(job.address(), job.options()), one(job.address(), job.options());
    std::jthread joining([&] {
      try {
        zero.join({0, "here", 1000}, 2);
      } catch (const CommError&) {
      }
    });
    if (complete) {
      one.join({1, "here", 1001}, 2);
      joining.join();
    } else {
      // Counted by the server before the second comes.
      std::this_thread::sleep_for(50ms);
    }
    Store second(job.address(), job.options());
    CHECK(error_of<UserError>([&] {
            second.join({0, "there", 7}, 2);
          })
              .starts_with("[store] rank 0 (pid 7, host there) comes second after rank 0 (pid "
                           "1000, host here); "));
    if (complete) {
      one.set("key", "value");
      CHECK_FALSE(one.failure());
    } else {
      joining.join();
      REQUIRE(zero.failure());
      CHECK(zero.failure()->exit_code == ExitCode::kUsage);
    }
  }
}

TEST_CASE("a rank's error reaches every process of the job, with its name and exit code") {
  Job job(3);
  Store launcher(job.address(), job.options());
  std::vector<std::string> reasons(3);
  std::vector<ExitCode> codes(3);
  job.run([&](int rank, Store& store) {
    const auto i = static_cast<size_t>(rank);
    Failure failure;
    if (rank == 1) {
      failure = store.fail({"[data.paths] gone", ExitCode::kData}, Evidence::kCause);
    } else {
      reasons[i] = error_of<CommError>([&] { store.get("never"); });
      failure = store.fail({"[barrier] an echo", ExitCode::kRankLost}, Evidence::kEcho);
    }
    reasons[i] = failure.reason;
    codes[i] = failure.exit_code;
  });
  for (size_t i = 0; i < 3; ++i) {
    CHECK(reasons[i] == "rank 1 (pid 1001, host here): [data.paths] gone");
    CHECK(codes[i] == ExitCode::kData);
  }
  CHECK(comes_true([&] { return launcher.failure().has_value(); }));
  CHECK(launcher.failure()->reason == reasons[0]);
  // Also whoever comes afterwards.
  Store late(job.address(), job.options());
  CHECK(comes_true([&] { return late.failure().has_value(); }));
  CHECK(late.failure()->reason == reasons[0]);
}

TEST_CASE("a rank that is gone is named after a moment, with what its launcher knows") {
  for (bool launched : {false, true}) {
    Job job(2);
    Store launcher(job.address(), job.options());
    std::string error;
    job.run([&](int rank, Store& store) {
      if (rank == 1) return;  // its connection closes
      if (launched)
        launcher.report_end(
            1, {"rank 1 (pid 1001, host here): killed by signal 9", ExitCode::kRankLost});
      error = error_of<CommError>([&] { store.get("never"); });
    });
    CHECK(error ==
          (launched ? "rank 1 (pid 1001, host here): killed by signal 9"
                    : "rank 1 (pid 1001, host here): died; its connection to the store closed"));
    CHECK(comes_true([&] { return launcher.failure().has_value(); }));
    CHECK(launcher.failure()->reason == error);
    CHECK(launcher.failure()->exit_code == ExitCode::kRankLost);
  }
}

TEST_CASE("a rank that has left may end as it likes") {
  Job job(2);
  Store launcher(job.address(), job.options());
  job.run([&](int, Store& store) { store.leave(); });
  CHECK_FALSE(launcher.report_end(1, {"rank 1: ended with exit code 5", ExitCode::kDiverged}));
  std::this_thread::sleep_for(400ms);
  CHECK_FALSE(launcher.failure());
}

TEST_CASE("the failure is told once, at once where it is known") {
  Job job(1);
  Store store(job.address(), job.options());
  std::atomic<int> num_told = 0, num_replaced = 0, num_late = 0;
  store.on_failure([&](const Failure&) { ++num_replaced; });
  store.on_failure([&](const Failure& failure) {
    if (failure.reason == "over") ++num_told;
  });
  store.fail({"over", ExitCode::kData}, Evidence::kCause);
  CHECK(comes_true([&] { return num_told == 1; }));
  store.on_failure([&](const Failure&) { ++num_late; });
  CHECK(num_late == 1);
  CHECK(num_told == 1);
  CHECK(num_replaced == 0);
}

TEST_CASE("a store that ends before the job is a failure everybody sees") {
  auto server = std::make_unique<StoreServer>(StoreAddress{"127.0.0.1", 0}, 2, 20s, kHostedBy);
  const StoreAddress address{"127.0.0.1", server->port()};
  Store store(address, {.timeout = 20s});
  const auto start = Clock::now();
  std::jthread ending([&] { server.reset(); });
  CHECK(error_of<CommError>([&] { store.get("never"); }) ==
        fmt::format("{}: died; its store at 127.0.0.1:{} closed the connection", kHostedBy,
                    address.port));
  CHECK(store.failure()->exit_code == ExitCode::kRankLost);
  CHECK(seconds_since(start) > 1.9);  // it waits for its clients to go
}

TEST_CASE("what listens and is no store is said to be none") {
  const store::Descriptor listener = store::listen_at({"127.0.0.1", 0});
  const StoreAddress address = store::local_address(listener);
  std::jthread other([&] {
    while (store::accept_from(listener).get() < 0) std::this_thread::sleep_for(1ms);
  });
  CHECK(error_of<CommError>([&] { Store(address, {.timeout = 5s}); }) ==
        fmt::format("[store] {} did not answer; see that it is rank 0 of this job",
                    to_string(address)));
}

TEST_CASE("a wait can be broken off") {
  Job job(2);
  std::atomic<bool> stop = false;
  Store store(job.address(), {.timeout = 20s, .while_waiting = [&] {
                                if (stop) throw std::runtime_error("stopped");
                              }});
  std::jthread stopping([&] {
    std::this_thread::sleep_for(30ms);
    stop = true;
  });
  CHECK(error_of<std::runtime_error>([&] { store.join({0, "here", 1}, 2); }) == "stopped");
}

TEST_CASE("a server that does not answer is not waited for beyond the timeout") {
  const store::Descriptor silent = store::listen_at({"127.0.0.1", 0});
  const StoreAddress address = store::local_address(silent);
  CHECK(error_of<CommError>([&] { Store(address, {.timeout = 100ms}); }) ==
        fmt::format("[store] hello: no answer from {} within 0.1 s", to_string(address)));
}

TEST_CASE("who holds a group up is asked of its members, whatever they do meanwhile") {
  Job job(4);
  std::vector<std::string> reasons(4);
  job.run([&](int rank, Store& store) {
    // Rank 3 says nothing; rank 1 is behind in group 5, and ahead in another.
    if (rank != 3)
      store.on_how_far([rank](int64_t group) {
        return Progress{.last_called = group == 5 ? (rank == 1 ? 8 : 9) : 20};
      });
    if (rank == 0) {
      // All have set their answers.
      for (int peer : {1, 2, 3}) store.get("ready" + std::to_string(peer));
      reasons[0] =
          store.fail({"[all_reduce \"grads\"] group dp, sequence 9", 5, {0, 1, 2, 3}, 9, 0.5})
              .value()
              .reason;
      return;
    }
    store.set("ready" + std::to_string(rank), "");
    reasons[static_cast<size_t>(rank)] = error_of<CommError>([&] { store.get("never"); });
  });
  for (const std::string& reason : reasons)
    CHECK(reason ==
          "[all_reduce \"grads\"] group dp, sequence 9: rank 1 did not arrive and rank 3 is not "
          "responding within 0.5 s; find what holds them up, or raise trainer.comm_timeout_s");
}

TEST_CASE("a rank that waits for others is not to blame; when their time is up too, it is named") {
  Job job(2);
  std::optional<Failure> first, last;
  job.run([&](int rank, Store& store) {
    store.on_how_far([](int64_t) { return Progress{.last_called = 3, .waits = true}; });
    if (rank == 1) {
      store.set("ready", "");
      error_of<CommError>([&] { store.get("never"); });
      return;
    }
    store.get("ready");
    Hang hang{"[barrier \"b\"] group tp, sequence 4", 5, {0, 1}, 4, 0.5};
    first = store.fail(hang);
    hang.is_last = true;
    last = store.fail(hang);
  });
  CHECK_FALSE(first);
  REQUIRE(last);
  CHECK(last->reason.starts_with(
      "[barrier \"b\"] group tp, sequence 4: ranks 0, 1 did not arrive within 0.5 s; "));
}
