#include "lib/device/host.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace nemo {
namespace {

namespace fs = std::filesystem;

// None where there is no such file, or no number in it ("max").
std::optional<int64_t> read_number(const fs::path& path) {
  std::ifstream file(path);
  int64_t number = 0;
  if (file >> number) return number;
  return {};
}

// Of the group and those it lies in. A container may see the host's path of its group, which is not
// there; its own limit is then at the root.
std::optional<int64_t> least_limit(const fs::path& root, fs::path group, const char* file) {
  std::optional<int64_t> least;
  for (group = group.relative_path();; group = group.parent_path()) {
    const std::optional<int64_t> limit = read_number(root / group / file);
    if (limit) least = std::min(*limit, least.value_or(*limit));
    if (group.empty()) return least;
  }
}

}  // namespace

int num_available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return CPU_COUNT(&set);
}

int64_t host_memory_bytes() {
  const int64_t physical = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);
  std::ifstream groups("/proc/self/cgroup");
  return std::min(physical, memory_limit(groups, "/sys/fs/cgroup").value_or(physical));
}

// Lines `number:controllers:path`; version 2 has one, without controllers.
std::optional<int64_t> memory_limit(std::istream& groups, const fs::path& root) {
  std::optional<int64_t> least;
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    const std::optional<int64_t> limit =
        controllers.empty()       ? least_limit(root, path, "memory.max")
        : controllers == "memory" ? least_limit(root / "memory", path, "memory.limit_in_bytes")
                                  : std::nullopt;
    if (limit) least = std::min(*limit, least.value_or(*limit));
  }
  return least;
}

}  // namespace nemo
