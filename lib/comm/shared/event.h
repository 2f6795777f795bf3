// A word threads sleep on until something may have changed (an event count over futex).
//
//   waiter: epoch = event.epoch(); if (nothing has changed yet) event.wait(epoch, deadline);
//   waker:  change something;      event.notify();
// A change made after epoch() was read is never slept through. notify() costs a system call only
// when somebody sleeps.
#pragma once

#include <atomic>
#include <cstdint>

#include "lib/core/clock.h"

namespace nemo::shared {

class Event {
 public:
  uint32_t epoch() const { return epoch_.load(); }
  // Returns when notified since `epoch`, at the deadline, or early for no reason.
  void wait(uint32_t epoch, Clock::time_point deadline);
  void notify() {
    epoch_.fetch_add(1);
    if (num_sleepers_.load() != 0) wake();
  }

 private:
  void wake();

  // Sequentially consistent: a waker either sees the sleeper or the sleeper sees the new epoch.
  std::atomic<uint32_t> epoch_{0};
  std::atomic<uint32_t> num_sleepers_{0};
};

}  // namespace nemo::shared
