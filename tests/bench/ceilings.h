// What this machine can do at most, measured: the rate of fused multiply-adds on registers and the
// bandwidth of memory.
#pragma once

#include <cstdint>
#include <vector>

#include "lib/device/device.h"

namespace nemo::bench {

// Operations of `rounds` rounds of independent multiply-adds, two each. The result keeps the
// compiler from dropping them.
double multiply_add_v3(int64_t rounds, float* result);
double multiply_add_v4(int64_t rounds, float* result);

// a = b + 3 c.
void triad(int num_threads, std::vector<float>& a, const std::vector<float>& b,
           const std::vector<float>& c);

}  // namespace nemo::bench
