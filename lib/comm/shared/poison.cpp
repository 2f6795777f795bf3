#include "lib/comm/shared/poison.h"

namespace nemo::shared {

void Poison::set(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  if (is_set()) return;
  auto& mine = state_.reason[static_cast<size_t>(process_)];
  mine[reason.copy(mine.data(), mine.size() - 1)] = '\0';
  int nobody = 0;
  state_.first.compare_exchange_strong(nobody, 1 + process_);
}

void Poison::raise() const {
  throw CommError(state_.reason[static_cast<size_t>(state_.first.load() - 1)].data());
}

}  // namespace nemo::shared
