#include "lib/comm/shared/thread_world.h"

#include <numeric>

#include "lib/comm/shared/shared_communicator.h"
#include "lib/device/host.h"

namespace nemo {
namespace {

// Address space for the groups' rings: 256 ranks in a dozen groups each take 1 GB of it.
constexpr int64_t kSegmentBytes = int64_t{8} << 30;

}  // namespace

ThreadWorld::ThreadWorld(int num_ranks, std::chrono::nanoseconds timeout) {
  using namespace shared;
  if (num_ranks < 1 || num_ranks > kMaxRanks)
    throw_usage("[trainer.devices] {} ranks as threads of one process; 1 to {} would do", num_ranks,
                kMaxRanks);
  ranks_.resize(static_cast<size_t>(num_ranks));
  std::iota(ranks_.begin(), ranks_.end(), 0);
  std::shared_ptr<Segment> segment = Segment::make_private(kSegmentBytes);
  segment->allocate(sizeof(WorldState));
  domain_ = std::make_shared<Domain>(std::move(segment), Scope::kThreads, 0, timeout, ranks_);
  domain_->world.group = SharedCommunicator::allocate(*domain_->segment, num_ranks);
}

std::unique_ptr<Communicator> ThreadWorld::communicator(int rank) {
  return std::make_unique<shared::SharedCommunicator>(domain_, domain_->world.group, "world",
                                                      ranks_, rank);
}

void ThreadWorld::poison(const std::string& reason) noexcept {
  domain_->poison.set(reason);
}

}  // namespace nemo
