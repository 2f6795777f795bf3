// Rows for the ops that memory bounds, against the bandwidth measured in the same run.
#pragma once

#include "lib/device/stream.h"

namespace nemo::bench {

// bandwidth: bytes per second of the triad.
void bench_memory_ops(Stream& stream, double bandwidth);

}  // namespace nemo::bench
