// Data parallelism with replicated state (DDP): every rank holds all weights and all gradients of
// its share of the model, and gradients are summed in buckets, from the last unit to the first, as
// they become final: dense ones over the ranks that hold the dense weights, experts over those that
// hold the same experts.
//
// Weights and gradients of either kind each live in one flat buffer in the order of forward; a
// bucket is a range of the gradients' buffer, so reducing it copies nothing (unless bucket views
// are turned off).
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
  // params and groups must outlive this. Weights are uninitialised.
  DataParallel(Stream& stream, const ParamSet& params, Communicator& dense_group,
               Communicator& expert_group, const DataParallelOptions& options);

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
    Communicator* group;
    Tensor grads;     // a range of the flat buffer
    Tensor staged;    // its copy, without bucket views
    int num_units;    // that must be final
    int num_pending;  // of them
    Work work;
  };

  // Parameters of one kind, in order, and where each begins in their flat buffers.
  struct Flat {
    std::vector<ParamId> ids;
    std::vector<int64_t> offsets;  // one more, the size
  };
  void add_kind(const ParamSet& params, bool experts, Communicator& group);
  void add_buckets(const ParamSet& params, const Flat& flat, const Tensor& grads,
                   Communicator& group);
  void reduce(Bucket& bucket);

  Stream& stream_;
  DataParallelOptions options_;
  std::vector<Tensor> weights_;
  std::vector<Tensor> grads_;
  std::vector<bool> used_;  // in this step
  std::vector<OptimRange> ranges_;
  std::vector<Bucket> buckets_;  // of a kind in the order in which they become final
  std::vector<std::vector<size_t>> buckets_of_unit_;
};

}  // namespace nemo
