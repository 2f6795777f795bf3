// The signals that end a run after its current step: Ctrl-C, and what schedulers send.
#pragma once

#include <atomic>

namespace nemo {

// Installs handlers for SIGINT, SIGTERM and SIGUSR1 and returns where they leave the signal, 0
// until then. A second SIGINT ends the process at once with exit code 130.
const std::atomic<int>& catch_stop_signals();

}  // namespace nemo
