// What of this host the process may use.
#pragma once

#include <cstdint>
#include <filesystem>
#include <istream>
#include <optional>

namespace nemo {

// Cores this process may run on (its affinity mask, not the machine's).
int num_available_cores();

// Bytes of memory this process may use: the host's, or its control group's limit where that is less
// (a container, a Slurm job).
int64_t host_memory_bytes();

// The least memory limit, in bytes, of the control groups that `groups` lists (text of
// /proc/self/cgroup, version 1 or 2) and of those they lie in; none where nothing is limited.
// `root`: where control groups are mounted.
std::optional<int64_t> memory_limit(std::istream& groups, const std::filesystem::path& root);

}  // namespace nemo
