#include "lib/comm/shared/event.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

namespace nemo::shared {
namespace {

int flags_of(Scope scope) {
  return scope == Scope::kThreads ? FUTEX_PRIVATE_FLAG : 0;
}

}  // namespace

void Event::wait(uint32_t epoch, Clock::time_point deadline, Scope scope) {
  using std::chrono::nanoseconds;
  const int64_t left = nanoseconds(deadline - Clock::now()).count();
  if (left <= 0) return;
  const timespec timeout = {left / 1'000'000'000, left % 1'000'000'000};
  ++num_sleepers_;
  syscall(SYS_futex, &epoch_, FUTEX_WAIT | flags_of(scope), epoch, &timeout, nullptr, 0);
  --num_sleepers_;
}

void Event::wake(Scope scope) {
  syscall(SYS_futex, &epoch_, FUTEX_WAKE | flags_of(scope), INT_MAX, nullptr, nullptr, 0);
}

}  // namespace nemo::shared
