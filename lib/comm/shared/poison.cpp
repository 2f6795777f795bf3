#include "lib/comm/shared/poison.h"

namespace nemo::shared {

void Poison::set(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  if (set_) return;
  reason_ = reason;
  set_ = true;
  for (Event* event : events_) event->notify();
}

void Poison::raise() const {
  throw CommError(reason_);
}

void Poison::add(Event* event) {
  const std::lock_guard lock(mutex_);
  events_.push_back(event);
}

void Poison::remove(Event* event) {
  const std::lock_guard lock(mutex_);
  std::erase(events_, event);
}

}  // namespace nemo::shared
