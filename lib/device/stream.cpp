#include "lib/device/stream.h"

#include <omp.h>

#include "lib/core/error.h"

namespace nemo {

Stream::Stream(Arena& arena, int num_threads, CpuIsa isa)
    : arena_(arena), num_threads_(num_threads), isa_(isa) {
  NEMO_CHECK(num_threads >= 1, "[stream] {} threads", num_threads);
  // OpenMP's team size is per calling thread, so ranks that are threads do not disturb each other.
  omp_set_num_threads(num_threads);
}

}  // namespace nemo
