#include "lib/comm/store/job.h"

#include <fmt/ranges.h>

namespace nemo {

std::string to_string(const Member& member) {
  return fmt::format("rank {} (pid {}, host {})", member.rank, member.pid, member.host);
}

std::string name_ranks(std::span<const int> ranks) {
  return fmt::format("{} {}", ranks.size() == 1 ? "rank" : "ranks", fmt::join(ranks, ", "));
}

}  // namespace nemo
