// Among which ranks a kind of state (dense weights, experts) is divided, and which hold the same.
#pragma once

#include "lib/comm/communicator.h"

namespace nemo {

// `shard`: ranks that saw other tokens and each keep a part. `replicate`: ranks that keep the same
// part.
struct KindGroups {
  Communicator* shard;
  Communicator* replicate;
};

struct StateGroups {
  KindGroups dense;
  KindGroups experts;

  const KindGroups& of(bool is_expert) const { return is_expert ? experts : dense; }
};

}  // namespace nemo
