#include "lib/device/device.h"

#include "lib/core/error.h"

namespace nemo {

std::string_view to_string(CpuIsa isa) {
  return isa == CpuIsa::kV4 ? "x86-64-v4" : "x86-64-v3";
}

namespace {

// What sets a level apart; every processor with these has the rest of it. Named singly because
// clang knows the levels' own names only since version 17.
bool has_v3() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}
bool has_v4() {
  return has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vl");
}

}  // namespace

CpuIsa detect_cpu_isa() {
  if (has_v4()) return CpuIsa::kV4;
  if (has_v3()) return CpuIsa::kV3;
  throw_usage(
      "[trainer.accelerator] this processor has no AVX2 and FMA (x86-64-v3), "
      "the least the CPU backend needs; run on a newer one");
}

}  // namespace nemo
