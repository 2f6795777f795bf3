#include "apps/nemo-cpp/stop_signal.h"

#include <unistd.h>

#include <csignal>

#include "lib/core/error.h"

namespace nemo {
namespace {

std::atomic<int> stop_signal{0};
std::atomic<bool> second_interrupt_ends{true};

void on_signal(int signal) {
  if (signal == SIGINT && stop_signal.load() == SIGINT && second_interrupt_ends.load())
    _exit(static_cast<int>(ExitCode::kInterrupted));
  int none = 0;
  // Ctrl-C ends what reads our lines too: that they cannot be written is then no reason of its own.
  if (signal == SIGPIPE)
    stop_signal.compare_exchange_strong(none, signal);
  else
    stop_signal.store(signal);
}

bool is_ignored(int signal) {
  struct sigaction action {};
  sigaction(signal, nullptr, &action);
  return action.sa_handler == SIG_IGN;
}

}  // namespace

const std::atomic<int>& catch_stop_signals(bool has_parent) {
  static_assert(std::atomic<int>::is_always_lock_free, "stores in a signal handler");
  second_interrupt_ends = !has_parent;
  struct sigaction action {};
  action.sa_handler = on_signal;
  for (int signal : {SIGINT, SIGTERM, SIGUSR1, SIGPIPE}) sigaction(signal, &action, nullptr);
  if (!is_ignored(SIGHUP)) sigaction(SIGHUP, &action, nullptr);
  std::signal(SIGXFSZ, SIG_IGN);
  return stop_signal;
}

}  // namespace nemo
