#include "lib/launch/supervise.h"

#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "lib/comm/store/store_server.h"
#include "tests/support/files.h"
#include "tests/support/processes.h"

using namespace nemo;
using namespace nemo::test;
using namespace std::chrono_literals;

namespace {

const Variables kVariables = {{"PATH", "/usr/bin:/bin"}};

ChildProcess shell(const std::string& script, const Variables& variables = kVariables) {
  return ChildProcess({"/bin/sh", {"sh", "-c", script}, variables});
}

int status_of(ChildProcess& child) {
  REQUIRE(comes_true([&] { return child.ending().has_value(); }));
  return *child.ending();
}

// A launcher in this process and its ranks; rank i does what the i-th words say (rank_program.cpp).
struct Launch {
  explicit Launch(const std::vector<std::string>& words, std::chrono::nanoseconds timeout = 20s)
      : server({"127.0.0.1", 0}, static_cast<int>(words.size()), timeout, "the launcher"),
        store({"127.0.0.1", server.port()}, {.timeout = timeout}) {
    for (const std::string& of_rank : words) start(of_rank, static_cast<int>(words.size()));
  }
  void start(const std::string& words, int num_ranks) {
    const int rank = static_cast<int>(ranks.size());
    ChildCommand command{NEMO_RANK_PROGRAM, {"rank"}, {}};
    std::istringstream text(words);
    for (std::string word; text >> word;) command.words.push_back(word);
    command.variables = variables_of({.launcher = "torchrun",
                                      .task = rank,
                                      .num_tasks = num_ranks,
                                      .local_task = rank,
                                      .num_nodes = 1,
                                      .store = {"127.0.0.1", server.port()},
                                      .parent = getpid()},
                                     kVariables);
    ranks.emplace_back(command);
  }
  int run() { return supervise(ranks, {store, 0, "here", stop_signal, grace}); }
  std::string reason() const { return store.failure().value_or(Failure{"none", {}}).reason; }
  std::string name(size_t rank) const {
    return fmt::format("rank {} (pid {}, host here)", rank, ranks[rank].pid());
  }

  StoreServer server;
  Store store;
  std::vector<ChildProcess> ranks;
  std::atomic<int> stop_signal{0};
  std::chrono::nanoseconds grace = 5s;
};

}  // namespace

TEST_CASE("a child has the words, the variables and nothing else") {
  const TempFolder folder;
  const std::string out = folder / "out";
  ChildProcess child = shell("echo \"$0 $A\" >" + out + "; env | sort >>" + out + "; exit 7",
                             {{"PATH", "/usr/bin:/bin"}, {"A", "x y=z"}});
  CHECK(child.pid() > 0);
  CHECK(WEXITSTATUS(status_of(child)) == 7);
  const std::string text = read_file(out);
  CHECK(text.starts_with("sh x y=z\n"));
  CHECK(text.find("\nA=x y=z\n") != std::string::npos);
  CHECK(text.find("HOME=") == std::string::npos);
}

TEST_CASE("a program that cannot be started is named") {
  CHECK_THROWS_WITH_AS(ChildProcess({"/nowhere/program", {"program"}, {}}),
                       "/nowhere/program: cannot be started: No such file or directory", UserError);
}

TEST_CASE("a child gets signals as if it had been started by hand") {
  signal(SIGTERM, [](int) {});
  ChildProcess child = shell("exec sleep 60");
  child.send(SIGTERM);
  signal(SIGTERM, SIG_DFL);
  const int status = status_of(child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGTERM);
  child.send(SIGTERM);  // to nobody
}

TEST_CASE("a child does not outlive its object") {
  pid_t pid = 0;
  {
    ChildProcess child = shell("trap '' TERM INT; while :; do sleep 0.1; done");
    pid = child.pid();
    CHECK(is_running(pid));
  }
  CHECK_FALSE(is_running(pid));
}

TEST_CASE("ranks that leave and end well, or alike") {
  for (int code : {0, 5, 143}) {
    const std::string words = "leave " + std::to_string(code);
    Launch launch({words, words, words});
    CHECK(launch.run() == code);
    CHECK(launch.reason() == "none");
  }
}

TEST_CASE("the first exit code that is not 0 counts") {
  Launch launch({"leave 0", "leave 5", "leave 0"});
  CHECK(launch.run() == 5);
  CHECK(launch.reason() == "none");
}

TEST_CASE("a rank that is killed ends the job with 4 and is named") {
  for (size_t victim : {0, 1, 2}) {
    std::vector<std::string> words(3, "wait");
    words[victim] = "kill " + std::to_string(victim == 1 ? SIGHUP : SIGKILL);
    Launch launch(words);
    const auto start = Clock::now();
    CHECK(launch.run() == 4);
    CHECK(seconds_since(start) < 5);
    CHECK(launch.reason() ==
          launch.name(victim) + (victim == 1 ? ": killed by signal 1" : ": killed by signal 9"));
  }
}

TEST_CASE("a rank's own error and exit code are the job's") {
  Launch launch({"wait", "wait", "fail 3"});
  CHECK(launch.run() == 3);
  CHECK(launch.reason() == launch.name(2) + ": [data.paths] gone");
}

TEST_CASE("a rank that ends by itself, before it joined or before it left") {
  for (const char* words : {"exit 2", "drop 2"}) {
    Launch launch({"wait", words});
    CHECK(launch.run() == 2);
    CHECK(launch.reason() == launch.name(1) + ": ended with exit code 2");
  }
  Launch launch({"drop 0", "wait"});
  CHECK(launch.run() == 4);
  CHECK(launch.reason() == launch.name(0) + ": ended with exit code 0");
}

TEST_CASE("ranks that do not hear of the failure are killed after the grace") {
  Launch launch({"deaf", "kill 9", "deaf"});
  for (const char* key : {"deaf0", "deaf2"}) launch.store.get(key);
  launch.grace = 300ms;
  const auto start = Clock::now();
  CHECK(launch.run() == 4);
  CHECK(seconds_since(start) > 0.3);
  CHECK(seconds_since(start) < 5);
  CHECK(launch.reason() == launch.name(1) + ": killed by signal 9");
  for (const ChildProcess& rank : launch.ranks) CHECK_FALSE(is_running(rank.pid()));
}

TEST_CASE("nobody waits for the others when rank 0, which has files to finish, has ended") {
  for (const char* of_first : {"wait", "kill 9"}) {
    Launch launch({of_first, "kill 9", "deaf"});
    launch.store.get("deaf2");
    launch.grace = 60s;
    const auto start = Clock::now();
    CHECK(launch.run() == 4);
    CHECK(seconds_since(start) < 20);
    CHECK_FALSE(is_running(launch.ranks[2].pid()));
  }
}

TEST_CASE("a rank that never joins is named in time, and killed") {
  Launch launch({"wait", "absent"}, 2s);
  launch.grace = 300ms;
  CHECK(launch.run() == 4);
  CHECK(launch.reason().starts_with("[store] rank 1 of 2 did not join within 2 s; "));
  CHECK_FALSE(is_running(launch.ranks[1].pid()));
}

TEST_CASE("a stop signal is passed on to every rank, and the ranks' code is the job's") {
  for (int signal : {SIGINT, SIGTERM, SIGUSR1}) {
    Launch launch({"stop", "stop"});
    std::jthread user([&] {
      for (const char* key : {"listening0", "listening1"}) launch.store.get(key);
      launch.stop_signal = signal;
    });
    CHECK(launch.run() == 128 + signal);
    CHECK(launch.reason() == "none");
  }
}

TEST_CASE("a rank that the signal ends before it listens was stopped, not killed") {
  Launch launch({"wait", "wait"});
  launch.stop_signal = SIGTERM;
  CHECK(launch.run() == 143);
  CHECK(launch.reason().ends_with(": stopped by signal 15 before training began"));
}

TEST_CASE("a signal to the whole group may reach a rank first") {
  for (int signal : {SIGINT, SIGTERM, SIGUSR1, SIGHUP}) {
    Launch launch({"wait", "wait"});
    const pid_t rank = launch.ranks[0].pid();
    std::jthread user([&, rank] {
      kill(rank, signal);
      std::this_thread::sleep_for(50ms);
      launch.stop_signal = signal;
    });
    CHECK(launch.run() == 128 + signal);
    CHECK(launch.reason() ==
          launch.name(0) + fmt::format(": stopped by signal {} before training began", signal));
  }
}

TEST_CASE("a rank that alone is sent such a signal was killed") {
  Launch launch({"wait", "wait"});
  launch.ranks[1].send(SIGTERM);
  CHECK(launch.run() == 4);
  CHECK(launch.reason() == launch.name(1) + ": killed by signal 15");
}

TEST_CASE("no child outlives a launcher that is killed") {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t launcher = fork();
  if (launcher == 0) {
    Launch launch({"deaf", "deaf", "deaf"});
    for (const char* key : {"deaf0", "deaf1", "deaf2"}) launch.store.get(key);
    for (const ChildProcess& rank : launch.ranks) {
      const pid_t pid = rank.pid();
      if (write(ends[1], &pid, sizeof pid) != sizeof pid) _exit(1);
    }
    _exit(launch.run());
  }
  std::vector<pid_t> pids(3);
  for (pid_t& pid : pids) {
    REQUIRE(read(ends[0], &pid, sizeof pid) == sizeof pid);
    CHECK(is_running(pid));
  }
  kill(launcher, SIGKILL);
  waitpid(launcher, nullptr, 0);
  for (const pid_t pid : pids) {
    CHECK(comes_true([&] { return !is_running(pid); }));
    kill(pid, SIGKILL);
  }
  close(ends[0]);
  close(ends[1]);
}
