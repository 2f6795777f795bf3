// What memory is used for, and how much of it: the categories that the memory model predicts and
// the arena reports.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace nemo {

enum class MemoryCategory : uint8_t {
  kParameters,     // weights in the dtype kernels read
  kGradients,      // parameter gradients
  kOptimizer,      // master weights and moments
  kActivations,    // what forward keeps for backward, and the activations in flight
  kPacked,         // packed forms of weights
  kCommunication,  // staging of collectives
  kWorkspace,      // scratch of a single kernel
  kData,           // token batches
};
inline constexpr int kNumMemoryCategories = 8;

// "parameters", "gradients", …
std::string_view to_string(MemoryCategory category);

// Bytes, aligned sizes included. `high_water` is what the arena ever reached into (fragmentation
// included); it is what the process has resident for it.
struct MemoryReport {
  std::array<int64_t, kNumMemoryCategories> live{};
  std::array<int64_t, kNumMemoryCategories> peak{};
  int64_t live_total = 0;
  int64_t peak_total = 0;
  int64_t high_water = 0;
};

}  // namespace nemo
