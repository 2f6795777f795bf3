// Where memory lives and work runs.
#pragma once

#include <cstdint>
#include <string_view>

namespace nemo {

// kRecord: memory is reserved and counted, kernels check their contracts and do nothing. Running
// the real step on it tells what a layout needs, without touching a page.
enum class DeviceKind : uint8_t { kCpu, kRecord };

struct Device {
  DeviceKind kind = DeviceKind::kCpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};

// The instruction sets CPU kernels are compiled for: x86-64-v3 (AVX2, FMA) and x86-64-v4 (AVX-512).
enum class CpuIsa : uint8_t { kV3, kV4 };

std::string_view to_string(CpuIsa isa);

// The best set this processor has; a usage error where it has neither.
CpuIsa detect_cpu_isa();

}  // namespace nemo
