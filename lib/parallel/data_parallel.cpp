#include "lib/parallel/data_parallel.h"

#include "kernels/elementwise.h"

namespace nemo {
namespace {

// Every parameter begins on a cache line.
constexpr int64_t kAlignElements = 16;

}  // namespace

DataParallel::DataParallel(Stream& stream, const ParamSet& params, Communicator& group,
                           const DataParallelOptions& options)
    : stream_(stream), group_(group), options_(options) {
  std::vector<int64_t> offsets = {0};
  for (const Param& param : params.params())
    offsets.push_back(offsets.back() + round_up(param.shape.numel(), kAlignElements));
  flat_weights_ =
      Tensor(stream.arena(), DType::kF32, {offsets.back()}, MemoryCategory::kParameters, "weights");
  flat_grads_ =
      Tensor(stream.arena(), DType::kF32, {offsets.back()}, MemoryCategory::kGradients, "grads");
  // The gaps between parameters take part in every reduction.
  kernels::fill(stream, flat_weights_, 0);
  kernels::fill(stream, flat_grads_, 0);

  for (ParamId id = 0; id < params.num_params(); ++id) {
    const int64_t begin = offsets[static_cast<size_t>(id)];
    const int64_t end = begin + params[id].shape.numel();
    const Tensor weight = flat_weights_.slice(0, begin, end);
    const Tensor grad = flat_grads_.slice(0, begin, end);
    weights_.push_back(weight.view(params[id].shape));
    grads_.push_back(grad.view(params[id].shape));
    ranges_.push_back({weight, grad, params[id].decay, id});
  }
  used_.assign(weights_.size(), false);
  make_buckets(params, offsets);
}

// From the last unit to the first: a bucket closes once it holds bucket_size_mb.
void DataParallel::make_buckets(const ParamSet& params, const std::vector<int64_t>& offsets) {
  const double limit = options_.bucket_size_mb * 1e6;
  bucket_of_unit_.resize(static_cast<size_t>(params.num_units()));
  ParamId id = params.num_params() - 1;
  int64_t end = offsets.back();
  int num_units = 0;
  for (int unit = params.num_units() - 1; unit >= 0; --unit) {
    while (id >= 0 && params[id].unit == unit) --id;
    const int64_t begin = offsets[static_cast<size_t>(id + 1)];
    bucket_of_unit_[static_cast<size_t>(unit)] = buckets_.size();
    ++num_units;
    if (static_cast<double>((end - begin) * size_of(DType::kF32)) < limit && unit > 0) continue;
    Bucket bucket{flat_grads_.slice(0, begin, end), {}, num_units, num_units, {}};
    if (!options_.gradient_as_bucket_view)
      bucket.staged = Tensor(stream_.arena(), DType::kF32, {end - begin},
                             MemoryCategory::kCommunication, "bucket");
    buckets_.push_back(std::move(bucket));
    end = begin;
    num_units = 0;
  }
}

GradTarget DataParallel::target(ParamId id) {
  const size_t i = static_cast<size_t>(id);
  const bool accumulate = used_[i];
  used_[i] = true;
  return {grads_[i], accumulate};
}

void DataParallel::mark_final(int unit) {
  Bucket& bucket = buckets_[bucket_of_unit_[static_cast<size_t>(unit)]];
  NEMO_CHECK(bucket.num_pending > 0, "[data_parallel] unit {} is final twice in a step", unit);
  if (--bucket.num_pending == 0 && options_.overlap_grad_reduce) reduce(bucket);
}

void DataParallel::finish_grads() {
  for (Bucket& bucket : buckets_) {
    NEMO_CHECK(bucket.num_pending == 0, "[data_parallel] {} units never became final",
               bucket.num_pending);
    if (!options_.overlap_grad_reduce) reduce(bucket);
  }
  for (Bucket& bucket : buckets_) {
    bucket.work.wait(stream_);
    bucket.work = {};
    if (bucket.staged) kernels::convert(stream_, bucket.staged, bucket.grads);
    bucket.num_pending = bucket.num_units;
  }
  used_.assign(used_.size(), false);
}

void DataParallel::reduce(Bucket& bucket) {
  if (bucket.staged) kernels::convert(stream_, bucket.grads, bucket.staged);
  bucket.work =
      group_.all_reduce(bucket.staged ? bucket.staged : bucket.grads, ReduceOp::kSum, "gradients");
}

}  // namespace nemo
