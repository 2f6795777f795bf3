#include "lib/device/host.h"

#include <doctest/doctest.h>

#include <sstream>

#include "tests/support/files.h"

using namespace nemo;
using namespace nemo::test;

namespace {

std::optional<int64_t> limit_of(const std::string& groups, const TempFolder& root) {
  std::istringstream text(groups);
  return memory_limit(text, root.path());
}

}  // namespace

TEST_CASE("the least memory limit of a group and those it lies in counts") {
  const TempFolder root;
  write_file(root / "memory.max", "max\n");
  write_file(root / "job/memory.max", "3000\n");
  write_file(root / "job/step/memory.max", "5000\n");
  CHECK(limit_of("0::/job/step\n", root) == 3000);
  write_file(root / "job/step/memory.max", "2000\n");
  CHECK(limit_of("0::/job/step\n", root) == 2000);
  CHECK_FALSE(limit_of("0::/other\n", root).has_value());
  CHECK_FALSE(limit_of("", root).has_value());
}

TEST_CASE("version 1 of control groups has memory in a folder of its own") {
  const TempFolder root;
  write_file(root / "memory/job/memory.limit_in_bytes", "7000\n");
  write_file(root / "memory.max", "1\n");
  write_file(root / "cpu/job/memory.limit_in_bytes", "1\n");
  CHECK(limit_of("5:cpu:/job\n4:memory:/job\n", root) == 7000);
}

TEST_CASE("a container's limit is at the root, where its group's path leads nowhere") {
  const TempFolder root;
  write_file(root / "memory/memory.limit_in_bytes", "9000\n");
  CHECK(limit_of("4:memory:/docker/abc\n", root) == 9000);
}

TEST_CASE("this host has cores and memory") {
  CHECK(num_available_cores() >= 1);
  CHECK(host_memory_bytes() > int64_t{1} << 20);
}
