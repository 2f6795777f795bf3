#include "lib/comm/shared/event.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

namespace nemo::shared {

void Event::wait(uint32_t epoch, Clock::time_point deadline) {
  using std::chrono::nanoseconds;
  const int64_t left = nanoseconds(deadline - Clock::now()).count();
  if (left <= 0) return;
  const timespec timeout = {left / 1'000'000'000, left % 1'000'000'000};
  ++num_sleepers_;
  syscall(SYS_futex, &epoch_, FUTEX_WAIT_PRIVATE, epoch, &timeout, nullptr, 0);
  --num_sleepers_;
}

void Event::wake() {
  syscall(SYS_futex, &epoch_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace nemo::shared
