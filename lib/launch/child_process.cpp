#include "lib/launch/child_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <system_error>
#include <utility>

#include "lib/core/error.h"

namespace nemo {
namespace {

// As execve takes them.
std::vector<char*> pointers_to(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// No signal reaches the child while it still has this process's handlers.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { restore(); }
  void restore() const { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

// As execve does, but before signals come through. What is ignored stays so (nohup).
void reset_handlers() {
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction action {};
    if (sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_IGN)
      std::signal(signal, SIG_DFL);
  }
}

// In the child: becomes the program, or writes errno to `report`. Other threads of the parent may
// have held any lock when it forked, so this may do almost nothing.
void become(const char* program, char* const* words, char* const* variables, pid_t parent,
            int report, const BlockedSignals& signals) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) raise(SIGKILL);  // it ended before the line above
  reset_handlers();
  signals.restore();
  execve(program, words, variables);
  const int error = errno;
  if (write(report, &error, sizeof error) != sizeof error) raise(SIGABRT);
  raise(SIGKILL);
}

// What `become` wrote; 0 where the program's start closed the other end.
int read_report(int report) {
  int error = 0;
  ssize_t n = 0;
  do n = read(report, &error, sizeof error);
  while (n < 0 && errno == EINTR);
  return n == sizeof error ? error : 0;
}

}  // namespace

ChildProcess::ChildProcess(const ChildCommand& command) {
  std::vector<std::string> words = command.words;
  std::vector<std::string> settings;
  for (const auto& [name, value] : command.variables) settings.push_back(name + "=" + value);
  const std::vector<char*> argv = pointers_to(words);
  const std::vector<char*> envp = pointers_to(settings);
  int report[2];
  NEMO_CHECK(pipe2(report, O_CLOEXEC) == 0, "pipe: {}", std::generic_category().message(errno));
  const pid_t parent = getpid();
  {
    const BlockedSignals signals;
    pid_ = fork();
    if (pid_ == 0)
      become(command.program.c_str(), argv.data(), envp.data(), parent, report[1], signals);
  }
  int error = pid_ < 0 ? errno : 0;
  close(report[1]);
  if (error == 0) error = read_report(report[0]);
  close(report[0]);
  if (error == 0) return;
  if (pid_ > 0) waitpid(pid_, nullptr, 0);
  throw_usage("{}: cannot be started: {}", command.program, std::generic_category().message(error));
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, 0)), status_(std::move(other.status_)) {}

ChildProcess::~ChildProcess() {
  if (pid_ <= 0 || ending()) return;
  send(SIGKILL);
  while (waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::optional<int> ChildProcess::ending() {
  int status = 0;
  if (!status_ && waitpid(pid_, &status, WNOHANG) == pid_) status_ = status;
  return status_;
}

void ChildProcess::send(int signal) {
  if (!ending()) kill(pid_, signal);
}

}  // namespace nemo
