// The signals that end a run after its current step: Ctrl-C, what schedulers send, and those of a
// terminal or a pipe that has gone.
#pragma once

#include <atomic>

namespace nemo {

// Installs handlers for SIGINT, SIGTERM, SIGUSR1, SIGPIPE and SIGHUP and returns where they leave
// the signal, 0 until then. A second SIGINT ends the process at once with exit code 130, unless
// `has_parent`: a terminal's Ctrl-C reaches a rank twice, by itself and from the nemo-cpp that
// started it, with which it ends. A SIGHUP that is ignored, as nohup has it, stays so. SIGXFSZ
// (`ulimit -f`) is ignored: the write that fails says it.
const std::atomic<int>& catch_stop_signals(bool has_parent);

}  // namespace nemo
