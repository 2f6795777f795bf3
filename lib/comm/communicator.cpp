#include "lib/comm/communicator.h"

#include <algorithm>

#include "lib/core/math.h"

namespace nemo {

Work::~Work() {
  if (communicator_) communicator_->abandon(ticket_);
}

void Work::wait(Stream& stream) {
  Communicator* communicator = std::exchange(communicator_, nullptr);
  if (!communicator) return;
  communicator->wait(ticket_, stream);
  input_ = output_ = Tensor();
}

std::unique_ptr<Communicator> Communicator::subgroup(std::span<const int64_t> members,
                                                     const std::string& name) {
  rank_among(members);
  return split(narrow<int>(members.front()), name);
}

int Communicator::rank_among(std::span<const int64_t> members) const {
  const auto found = std::ranges::find(members, int64_t{rank_});
  NEMO_CHECK(found != members.end() && std::ranges::is_sorted(members) && members.front() >= 0 &&
                 members.back() < size_,
             "[comm] rank {} of {} ranks in group {} is not among the {} members given", rank_,
             size_, name_, members.size());
  return narrow<int>(found - members.begin());
}

}  // namespace nemo
