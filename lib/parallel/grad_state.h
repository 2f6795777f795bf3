// Where one rank's gradients live, between the modules that add to them and the optimizer.
#pragma once

#include "lib/nn/weights.h"

namespace nemo {

class GradState : public GradSink {
 public:
  // This rank's shard of a bucket, fp32.
  virtual Tensor shard(size_t bucket) const = 0;
  // After the last backward of a step: when this returns, shards are sums over every rank that saw
  // other tokens, and the next use of each begins anew.
  virtual void finish() = 0;
};

}  // namespace nemo
