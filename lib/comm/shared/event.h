// A word ranks sleep on until something may have changed (an event count over futex).
//
//   waiter: epoch = event.epoch(); if (nothing has changed yet) event.wait(epoch, deadline, scope);
//   waker:  change something;      event.notify(scope);
// A change made after epoch() was read is never slept through. notify() costs a system call only
// when somebody sleeps. Lies in a segment.
#pragma once

#include <atomic>
#include <cstdint>

#include "lib/core/clock.h"

namespace nemo::shared {

// Who waits for whom: the threads of one process, or the processes of a host.
enum class Scope { kThreads, kProcesses };

class alignas(64) Event {
 public:
  uint32_t epoch() const { return epoch_.load(); }
  // Returns when notified since `epoch`, at the deadline, or early for no reason.
  void wait(uint32_t epoch, Clock::time_point deadline, Scope scope);
  void notify(Scope scope) {
    epoch_.fetch_add(1);
    if (num_sleepers_.load() != 0) wake(scope);
  }

 private:
  void wake(Scope scope);

  // Sequentially consistent: a waker either sees the sleeper or the sleeper sees the new epoch.
  std::atomic<uint32_t> epoch_;
  std::atomic<uint32_t> num_sleepers_;
};

}  // namespace nemo::shared
