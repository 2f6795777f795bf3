#include "lib/comm/shared/thread_world.h"

#include <numeric>

#include "lib/comm/shared/group.h"
#include "lib/comm/shared/shared_communicator.h"

namespace nemo {
namespace {

std::vector<int> count_to(int n) {
  std::vector<int> ranks(static_cast<size_t>(n));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

}  // namespace

ThreadWorld::ThreadWorld(int num_ranks, std::chrono::nanoseconds timeout) {
  if (num_ranks < 1 || num_ranks > shared::kMaxRanks)
    throw_usage(
        "[trainer.devices] {} ranks as threads of one process, 1 to {} are possible; use "
        "--launch processes",
        num_ranks, shared::kMaxRanks);
  world_ = std::make_shared<shared::World>(timeout, num_ranks <= num_available_cores());
  group_ = std::make_shared<shared::Group>(world_, "world", count_to(num_ranks));
}

std::unique_ptr<Communicator> ThreadWorld::communicator(int rank) {
  return std::make_unique<shared::SharedCommunicator>(group_, rank);
}

void ThreadWorld::poison(const std::string& reason) noexcept {
  world_->domain.poison.set(reason);
}

}  // namespace nemo
