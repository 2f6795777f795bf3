#include "lib/device/device.h"

#include <sched.h>
#include <unistd.h>

#include "lib/core/error.h"

namespace nemo {

std::string_view to_string(CpuIsa isa) {
  return isa == CpuIsa::kV4 ? "x86-64-v4" : "x86-64-v3";
}

CpuIsa detect_cpu_isa() {
  if (__builtin_cpu_supports("x86-64-v4")) return CpuIsa::kV4;
  if (__builtin_cpu_supports("x86-64-v3")) return CpuIsa::kV3;
  throw_usage(
      "[trainer.accelerator] this processor has no AVX2 and FMA (x86-64-v3), "
      "the least the CPU backend needs; run on a newer one");
}

int num_available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return CPU_COUNT(&set);
}

int64_t host_memory_bytes() {
  return static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGE_SIZE);
}

}  // namespace nemo
