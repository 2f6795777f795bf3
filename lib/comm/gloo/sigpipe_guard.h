// Gloo writes to connections that may be broken without asking for no SIGPIPE, which to this
// program means that nobody reads its output.
#pragma once

#include <pthread.h>

#include <csignal>
#include <ctime>

namespace nemo::gloo {

// Keeps SIGPIPE from the calling thread, and from those that it starts, while it lives.
class SigpipeGuard {
 public:
  SigpipeGuard() {
    sigemptyset(&sigpipe_);
    sigaddset(&sigpipe_, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
  }
  ~SigpipeGuard() {
    if (sigismember(&before_, SIGPIPE)) return;
    const timespec at_once{};
    sigtimedwait(&sigpipe_, nullptr, &at_once);
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SigpipeGuard(const SigpipeGuard&) = delete;
  SigpipeGuard& operator=(const SigpipeGuard&) = delete;

 private:
  sigset_t sigpipe_;
  sigset_t before_;
};

}  // namespace nemo::gloo
