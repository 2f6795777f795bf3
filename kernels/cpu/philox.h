// philox() of lib/core/philox.h for consecutive counters at once.
//
// Each 32-bit word of a counter's state sits in a 64-bit lane: the processor multiplies the low
// halves of such lanes into full products, so a round needs no shuffle. The high halves hold
// leftovers, which no operation below reads.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace nemo::kernels::NEMO_CPU_ISA {

inline constexpr int64_t kPhiloxCounters = 16;

struct PhiloxWords {
  alignas(64) uint32_t word[4][kPhiloxCounters];
};

#ifdef __AVX512F__
using PhiloxLanes [[gnu::vector_size(64)]] = uint64_t;
inline PhiloxLanes multiply_low_halves(PhiloxLanes a, PhiloxLanes b) {
  // All lanes; g++ 12 warns about its own header in the form without a mask.
  return (PhiloxLanes)_mm512_maskz_mul_epu32(0xff, (__m512i)a, (__m512i)b);
}
#else
using PhiloxLanes [[gnu::vector_size(32)]] = uint64_t;
inline PhiloxLanes multiply_low_halves(PhiloxLanes a, PhiloxLanes b) {
  return (PhiloxLanes)_mm256_mul_epu32((__m256i)a, (__m256i)b);
}
#endif

// Counters first … first + kPhiloxCounters - 1; first is a multiple of kPhiloxCounters.
inline PhiloxWords philox_words(uint64_t key, uint64_t first, uint64_t stream) {
  constexpr int64_t kLanes = sizeof(PhiloxLanes) / sizeof(uint64_t);
  const PhiloxLanes factor0 = PhiloxLanes{} + 0xD2511F53u, factor1 = PhiloxLanes{} + 0xCD9E8D57u;
  PhiloxWords result;
  for (int64_t begin = 0; begin < kPhiloxCounters; begin += 2 * kLanes) {
    PhiloxLanes c[2][4];  // the even and the odd counters, to be interleaved
    for (int odd = 0; odd < 2; ++odd) {
      c[odd][0] = PhiloxLanes{} + (first + begin + odd);
      for (int64_t lane = 0; lane < kLanes; ++lane) c[odd][0][lane] += 2 * lane;
      c[odd][1] = PhiloxLanes{} + (first >> 32);
      c[odd][2] = PhiloxLanes{} + stream;
      c[odd][3] = PhiloxLanes{} + (stream >> 32);
    }
    uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
      for (int odd = 0; odd < 2; ++odd) {
        PhiloxLanes* x = c[odd];
        const PhiloxLanes p0 = multiply_low_halves(x[0], factor0);
        const PhiloxLanes p1 = multiply_low_halves(x[2], factor1);
        x[0] = (p1 >> 32) ^ x[1] ^ k0;
        x[1] = p1;
        x[2] = (p0 >> 32) ^ x[3] ^ k1;
        x[3] = p0;
      }
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    for (int word = 0; word < 4; ++word) {
      const PhiloxLanes both = (c[0][word] & 0xffffffffu) | (c[1][word] << 32);
      __builtin_memcpy(result.word[word] + begin, &both, sizeof(both));
    }
  }
  return result;
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
