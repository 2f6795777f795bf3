#include "lib/parallel/data_parallel.h"

#include "kernels/elementwise.h"

namespace nemo {
namespace {

// Every parameter begins on a cache line.
constexpr int64_t kAlignElements = 16;

}  // namespace

DataParallel::DataParallel(Stream& stream, const ParamSet& params, Communicator& dense_group,
                           Communicator& expert_group, const DataParallelOptions& options)
    : stream_(stream), options_(options) {
  const size_t num_params = static_cast<size_t>(params.num_params());
  weights_.resize(num_params);
  grads_.resize(num_params);
  ranges_.resize(num_params);
  used_.assign(num_params, false);
  buckets_of_unit_.resize(static_cast<size_t>(params.num_units()));
  add_kind(params, /*experts=*/false, dense_group);
  add_kind(params, /*experts=*/true, expert_group);
}

void DataParallel::add_kind(const ParamSet& params, bool experts, Communicator& group) {
  Flat flat{{}, {0}};
  for (ParamId id = 0; id < params.num_params(); ++id) {
    if (params[id].is_expert() != experts) continue;
    flat.ids.push_back(id);
    flat.offsets.push_back(flat.offsets.back() +
                           round_up(params[id].shape.numel(), kAlignElements));
  }
  if (flat.ids.empty()) return;
  const auto buffer = [&](MemoryCategory category, const char* name) {
    Tensor all(stream_.arena(), DType::kF32, {flat.offsets.back()}, category, name);
    kernels::fill(stream_, all, 0);  // the gaps between parameters take part in every reduction
    return all;
  };
  const Tensor weights = buffer(MemoryCategory::kParameters, "weights");
  const Tensor grads = buffer(MemoryCategory::kGradients, "grads");
  for (size_t i = 0; i < flat.ids.size(); ++i) {
    const ParamId id = flat.ids[i];
    const int64_t begin = flat.offsets[i], end = begin + params[id].shape.numel();
    const OptimRange range = {weights.slice(0, begin, end), grads.slice(0, begin, end),
                              params[id].decay, id};
    weights_[static_cast<size_t>(id)] = range.param.view(params[id].shape);
    grads_[static_cast<size_t>(id)] = range.grad.view(params[id].shape);
    ranges_[static_cast<size_t>(id)] = range;
  }
  add_buckets(params, flat, grads, group);
}

// From the last unit to the first: a bucket closes once it holds bucket_size_mb.
void DataParallel::add_buckets(const ParamSet& params, const Flat& flat, const Tensor& grads,
                               Communicator& group) {
  const double limit = options_.bucket_size_mb * 1e6;
  int64_t end = flat.offsets.back();
  int num_units = 0;
  for (size_t i = flat.ids.size(); i-- > 0;) {
    const int unit = params[flat.ids[i]].unit;
    const bool begins_unit = i == 0 || params[flat.ids[i - 1]].unit != unit;
    if (!begins_unit) continue;
    const int64_t begin = flat.offsets[i];
    buckets_of_unit_[static_cast<size_t>(unit)].push_back(buckets_.size());
    ++num_units;
    if (static_cast<double>((end - begin) * size_of(DType::kF32)) < limit && i > 0) continue;
    Bucket bucket{&group, grads.slice(0, begin, end), {}, num_units, num_units, {}};
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
  for (const size_t index : buckets_of_unit_[static_cast<size_t>(unit)]) {
    Bucket& bucket = buckets_[index];
    NEMO_CHECK(bucket.num_pending > 0, "[data_parallel] unit {} is final twice in a step", unit);
    if (--bucket.num_pending == 0 && options_.overlap_grad_reduce) reduce(bucket);
  }
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
  bucket.work = bucket.group->all_reduce(bucket.staged ? bucket.staged : bucket.grads,
                                         ReduceOp::kSum, "gradients");
}

}  // namespace nemo
