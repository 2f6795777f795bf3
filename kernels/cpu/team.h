// How CPU kernels divide their work among threads: static pieces, so that the same threads touch
// the same memory in forward and backward.
#pragma once

#include "lib/device/stream.h"

namespace nemo::kernels::NEMO_CPU_ISA {

// A team is woken only for work that takes longer than waking it.
inline constexpr int64_t kMinBytesPerThread = 128 << 10;

// The threads that a kernel moving `bytes` through memory is worth.
inline int team_size(const Stream& stream, int64_t bytes) {
  const int64_t worth = bytes / kMinBytesPerThread;
  return worth >= stream.num_threads() ? stream.num_threads()
         : worth > 1                   ? static_cast<int>(worth)
                                       : 1;
}

// body(begin, end) for one contiguous piece of [0, count) per thread. The pieces are multiples of
// `grain` but for the last. Nothing runs on a record device.
template <typename Body>
inline void parallel_pieces(const Stream& stream, int64_t count, int64_t grain, int64_t bytes,
                            const Body& body) {
  if (stream.recording()) return;
  const int64_t team = team_size(stream, bytes);
  if (team == 1) return body(int64_t{0}, count);
  const int64_t num_grains = (count + grain - 1) / grain;
#pragma omp parallel for num_threads(static_cast <int>(team)) schedule(static, 1)
  for (int64_t piece = 0; piece < team; ++piece) {
    const int64_t begin = num_grains * piece / team * grain;
    const int64_t end = num_grains * (piece + 1) / team * grain;
    body(begin, end < count ? end : count);
  }
}

}  // namespace nemo::kernels::NEMO_CPU_ISA
