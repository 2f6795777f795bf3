#include "lib/comm/shared/host_identity.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <fstream>

namespace nemo::shared {
namespace {

std::string link_target(const char* path) {
  std::array<char, 256> target{};
  return readlink(path, target.data(), target.size() - 1) < 0 ? "" : target.data();
}

}  // namespace

std::string host_identity() {
  std::array<char, 256> name{};
  gethostname(name.data(), name.size() - 1);
  std::string boot;
  std::getline(std::ifstream("/proc/sys/kernel/random/boot_id"), boot);
  return fmt::format("{} {} {} {}", name.data(), boot, link_target("/proc/self/ns/net"),
                     link_target("/proc/self/ns/pid"));
}

}  // namespace nemo::shared
