#include "apps/nemo-cpp/stop_signal.h"

#include <unistd.h>

#include <csignal>

#include "lib/core/error.h"

namespace nemo {
namespace {

std::atomic<int> stop_signal{0};

void on_signal(int signal) {
  if (signal == SIGINT && stop_signal.load() == SIGINT)
    _exit(static_cast<int>(ExitCode::kInterrupted));
  stop_signal.store(signal);
}

}  // namespace

const std::atomic<int>& catch_stop_signals() {
  static_assert(std::atomic<int>::is_always_lock_free, "stores in a signal handler");
  struct sigaction action {};
  action.sa_handler = on_signal;
  for (int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaction(signal, &action, nullptr);
  return stop_signal;
}

}  // namespace nemo
