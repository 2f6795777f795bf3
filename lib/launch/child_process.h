// A program that this process starts and that does not outlive it.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "lib/launch/environment.h"

namespace nemo {

struct ChildCommand {
  std::string program;             // a path
  std::vector<std::string> words;  // the first is the program's name
  Variables variables;             // all it has
};

// Killed by the kernel when the thread that started it ends, however that comes about; killed and
// waited for when this object goes.
class ChildProcess {
 public:
  // A usage error where the program cannot be started.
  explicit ChildProcess(const ChildCommand& command);
  ~ChildProcess();
  ChildProcess(ChildProcess&& other) noexcept;
  ChildProcess& operator=(ChildProcess&&) = delete;

  pid_t pid() const { return pid_; }
  // How it ended, as waitpid says it; nothing while it runs.
  std::optional<int> ending();
  // Nothing where it has ended.
  void send(int signal);

 private:
  pid_t pid_ = 0;
  std::optional<int> status_;
};

}  // namespace nemo
