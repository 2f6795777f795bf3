// Runs the built program and keeps what it prints.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "tests/support/files.h"
#include "tests/support/processes.h"

namespace nemo {

inline int exit_code_of(int status) {
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

struct ProgramResult {
  int exit_code = 0;  // 128 + signal where one ended it
  std::string out;
  std::string err;
};

// `arguments` is shell text, redirections included, as is `before`, which comes before the
// program's name; it runs in `folder`.
inline ProgramResult run_program(const std::string& arguments, const std::string& folder = "/",
                                 const std::string& before = "") {
  const test::TempFolder printed;
  const std::string out = printed / "out";
  const std::string err = printed / "err";
  const std::string line = "cd '" + folder + "' && " + before + " " + NEMO_CPP_BINARY + " >" + out +
                           " 2>" + err + " </dev/null " + arguments;
  const int status = std::system(line.c_str());
  return {exit_code_of(status), test::read_file(out), test::read_file(err)};
}

// A program that runs while the test goes on; killed where the test leaves it.
class RunningProgram {
 public:
  // `arguments` and `before`, which the shell runs first, as of run_program.
  explicit RunningProgram(const std::string& arguments, const std::string& before = "") {
    const std::string line =
        before + " exec " + NEMO_CPP_BINARY + " >/dev/null 2>&1 </dev/null " + arguments;
    pid_ = fork();
    if (pid_ == 0) {
      execl("/bin/sh", "sh", "-c", line.c_str(), nullptr);
      _exit(127);
    }
  }
  RunningProgram(const RunningProgram&) = delete;
  RunningProgram& operator=(const RunningProgram&) = delete;
  ~RunningProgram() {
    if (ended()) return;
    send(SIGKILL);
    waitpid(pid_, &status_, 0);
  }

  void send(int signal) const { kill(pid_, signal); }

  // Whether the program runs already and has installed a handler.
  bool catches(int signal) const {
    const std::string status = test::read_file("/proc/" + std::to_string(pid_) + "/status");
    const size_t caught = status.find("SigCgt:");
    if (!status.starts_with("Name:\tnemo-cpp\n") || caught == std::string::npos) return false;
    return std::stoull(status.substr(caught + 7), nullptr, 16) >> (signal - 1) & 1;
  }

  bool ended() {
    if (!ended_) ended_ = waitpid(pid_, &status_, WNOHANG) == pid_;
    return ended_;
  }
  // Of a program that has ended.
  int exit_code() const { return exit_code_of(status_); }

 private:
  pid_t pid_ = 0;
  int status_ = 0;
  bool ended_ = false;
};

using test::comes_true;

}  // namespace nemo
