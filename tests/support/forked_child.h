// A child of the test.
#pragma once

#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <exception>
#include <functional>
#include <utility>

namespace nemo::test {

// Runs fn and ends with what it returns, or 1 where it throws. Made while this process has one
// thread; killed with this object.
class ForkedChild {
 public:
  explicit ForkedChild(const std::function<int()>& fn) : pid_(fork()) {
    if (pid_ == 0) run(fn);
  }
  ForkedChild(ForkedChild&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  ~ForkedChild() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    wait();
  }

  pid_t pid() const { return pid_; }
  void kill(int signal) const { ::kill(pid_, signal); }
  // Its exit code, 128 + signal where one ended it.
  int wait() {
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

 private:
  [[noreturn]] static void run(const std::function<int()>& fn) {
    try {
      _exit(fn());
    } catch (const std::exception& e) {
      fmt::print(stderr, "child: {}\n", e.what());
      _exit(1);
    }
  }

  pid_t pid_;
};

}  // namespace nemo::test
