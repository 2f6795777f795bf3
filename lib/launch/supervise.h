// Watches over the ranks that this process started, until all have ended.
#pragma once

#include <atomic>
#include <chrono>
#include <string>
#include <vector>

#include "lib/comm/store/store.h"
#include "lib/launch/child_process.h"

namespace nemo {

struct Supervision {
  Store& store;    // this process's end of it
  int first_rank;  // of the children, which follow in order
  std::string host;
  // The signal that asks for a stop, 0 = none; passed on to the ranks.
  const std::atomic<int>& stop_signal;
  // How long the first may take to end once the job has failed; then all are killed.
  std::chrono::nanoseconds grace;
};

// Returns the exit code of the job: of its failure, which the store knows, else the first that is
// not 0 in order of rank. A rank's end before it has left the job is a failure of the job.
int supervise(std::vector<ChildProcess>& ranks, const Supervision& supervision);

}  // namespace nemo
