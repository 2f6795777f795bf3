// Data parallelism with replicated state (DDP): every rank holds all weights and all gradients, and
// gradients are summed over the group in buckets, from the last unit to the first, as they become
// final.
//
// Weights and gradients each live in one flat buffer in the order of forward; a bucket is a range
// of the gradients' buffer, so reducing it copies nothing (unless bucket views are turned off).
#pragma once

#include <vector>

#include "lib/comm/communicator.h"
#include "lib/parallel/parameter_state.h"

namespace nemo {

struct DataParallelOptions {
  double bucket_size_mb = 25;
  // Reduce a bucket while backward goes on, instead of after it.
  bool overlap_grad_reduce = false;
  // false: reduce a copy of each bucket (costs the bucket's size in memory and two copies).
  bool gradient_as_bucket_view = true;
};

class DataParallel final : public ParameterState {
 public:
  // params and group must outlive this. Weights are uninitialised.
  DataParallel(Stream& stream, const ParamSet& params, Communicator& group,
               const DataParallelOptions& options);

  void gather_ahead(int) override {}
  void acquire(int) override {}
  Tensor get(ParamId id) const override { return weights_[static_cast<size_t>(id)]; }
  void release(int) override {}

  GradTarget target(ParamId id) override;
  void mark_final(int unit) override;

  void finish_grads() override;
  const std::vector<OptimRange>& ranges() const override { return ranges_; }

 private:
  struct Bucket {
    Tensor grads;     // a range of the flat buffer
    Tensor staged;    // its copy, without bucket views
    int num_units;    // that must be final
    int num_pending;  // of them
    Work work;
  };

  void make_buckets(const ParamSet& params, const std::vector<int64_t>& offsets);
  void reduce(Bucket& bucket);

  Stream& stream_;
  Communicator& group_;
  DataParallelOptions options_;
  Tensor flat_weights_;
  Tensor flat_grads_;
  std::vector<Tensor> weights_;
  std::vector<Tensor> grads_;
  std::vector<bool> used_;  // in this step
  std::vector<OptimRange> ranges_;
  std::vector<Bucket> buckets_;  // in the order in which they become final
  std::vector<size_t> bucket_of_unit_;
};

}  // namespace nemo
