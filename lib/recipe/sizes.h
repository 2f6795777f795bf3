// The sizes that follow from a recipe and its world.
#pragma once

#include <cstdint>

namespace nemo {

// tp*cp*dp*pp == etp*ep*edp*pp == world; dp == dp_replicate*dp_shard. vpp chunks share one pp rank.
struct Sizes {
  int64_t world = 1;
  int64_t tp = 1;
  int64_t cp = 1;
  int64_t dp = 1;
  int64_t pp = 1;
  int64_t vpp = 1;
  int64_t etp = 1;
  int64_t ep = 1;
  int64_t edp = 1;
  int64_t dp_replicate = 1;
  int64_t dp_shard = 1;
  int64_t num_microbatches = 1;  // of one step on one data-parallel rank

  bool operator==(const Sizes&) const = default;
};

}  // namespace nemo
