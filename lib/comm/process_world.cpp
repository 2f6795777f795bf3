#include "lib/comm/process_world.h"

#include <algorithm>
#include <vector>

namespace nemo {
namespace {

// Groups that span hosts come here: until there is a backend for them, a rank that cannot share
// memory with all is refused.
void check_one_host(const std::vector<int>& host_ranks, int rank, int size) {
  std::vector<int> others;
  for (int other = 0; other < size; ++other)
    if (!std::ranges::binary_search(host_ranks, other)) others.push_back(other);
  if (!others.empty())
    throw_usage(
        "[launch] rank {} shares no memory with {} (another host, container or user), and ranks "
        "that do not cannot talk yet; all on one host, in one container, of one user would do",
        rank, name_ranks(others));
}

}  // namespace

ProcessWorld::ProcessWorld(Store& store, int rank, int size, const Options& options)
    : host_(store, rank, size, {.timeout = options.timeout, .share_memory = options.share_memory}) {
  check_one_host(host_.ranks(), rank, size);
}

std::unique_ptr<Communicator> ProcessWorld::communicator() {
  return host_.communicator("world");
}

void ProcessWorld::poison(const std::string& reason) noexcept {
  host_.poison(reason);
}

}  // namespace nemo
