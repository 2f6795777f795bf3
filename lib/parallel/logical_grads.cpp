#include "lib/parallel/logical_grads.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "kernels/elementwise.h"
#include "lib/optim/clip.h"

namespace nemo {
namespace {

// The ranks of this tp group that hold the same key/value heads.
std::unique_ptr<Communicator> group_of_kv_replicas(Communicator& tp, const Sharding& sharding) {
  const int64_t size = sharding.num_replicas(ParamRole::kKeyValue);
  std::vector<int64_t> members(static_cast<size_t>(size));
  std::iota(members.begin(), members.end(), tp.rank() / size * size);
  return tp.subgroup(members, "kv_replicas");
}

// The first and the last stage of this pipeline; alone in its group is any other.
std::unique_ptr<Communicator> group_of_end_stages(Communicator& pp) {
  const int64_t last = pp.size() - 1;
  const bool is_end = pp.rank() == 0 || pp.rank() == last;
  if (!is_end || last == 0) return pp.subgroup(std::vector<int64_t>{pp.rank()}, "end_stages");
  return pp.subgroup(std::vector<int64_t>{0, last}, "end_stages");
}

// Elements of the Param that hold the part.
Range elements_of(const Param& param, const ParamPart& part) {
  const int64_t cols = param.shape.num_dims() == 2 ? param.shape[1] : 1;
  return {part.first_row * cols, (part.first_row + part.slice.rows.size()) * cols};
}

Tensor staging_for(Stream& stream, const std::vector<Tensor>& grads) {
  int64_t numel = 0;
  for (const Tensor& grad : grads) numel += grad.numel();
  if (numel == 0) return {};
  return Tensor(stream.arena(), DType::kF32, {numel}, MemoryCategory::kCommunication, "replicas");
}

}  // namespace

LogicalGrads::LogicalGrads(Stream& stream, const ParamSet& params, const Sharding& sharding,
                           const ParameterState& state, const DeviceMesh& mesh, bool tied_table)
    : stream_(stream),
      state_(state),
      mesh_(mesh),
      tied_table_(tied_table),
      kv_replicas_(group_of_kv_replicas(mesh[Axis::kTp], sharding)),
      end_stages_(group_of_end_stages(mesh[Axis::kPp])),
      over_tp_{mesh[Axis::kTp], {}, {}},
      over_kv_replicas_{*kv_replicas_, {}, {}},
      over_end_stages_{*end_stages_, {}, {}} {
  for (const OptimRange& range : state.ranges()) {
    const Param& param = params[range.id];
    for (const ParamPart& part : param.parts) {
      const Range elements = elements_of(param, part);
      const int64_t begin = std::max(elements.begin - range.first, int64_t{0});
      const int64_t end = std::min(elements.end - range.first, range.grad.numel());
      if (begin < end) add_part(sharding, part.tensor.role, range.grad.slice(0, begin, end));
    }
  }
  for (Sum* sum : {&over_tp_, &over_kv_replicas_, &over_end_stages_})
    sum->staged = staging_for(stream, sum->grads);
}

void LogicalGrads::add_part(const Sharding& sharding, ParamRole role, const Tensor& grad) {
  const bool tied = tied_table_ && role == ParamRole::kTokenEmbedding;
  const bool is_copy = tied && mesh_.coordinate(Axis::kPp) > 0;
  if (is_first_holder(sharding, role) && !is_copy) counted_.push_back(grad);
  if (tied && end_stages_->size() > 1) over_end_stages_.grads.push_back(grad);
  if (!sharding.sums_replicas(role)) return;
  const bool all_tp_ranks = sharding.num_replicas(role) == over_tp_.group.size();
  (all_tp_ranks ? over_tp_ : over_kv_replicas_).grads.push_back(grad);
}

bool LogicalGrads::is_first_holder(const Sharding& sharding, ParamRole role) const {
  return state_.is_first_holder(is_expert(role)) &&
         (is_expert(role) || sharding.is_first_replica(role));
}

void LogicalGrads::sum_replicas() {
  for (Sum* sum : {&over_tp_, &over_kv_replicas_, &over_end_stages_}) {
    if (!sum->staged) continue;
    int64_t begin = 0;
    const auto next = [&](const Tensor& grad) {
      begin += grad.numel();
      return sum->staged.slice(0, begin - grad.numel(), begin);
    };
    for (const Tensor& grad : sum->grads) kernels::convert(stream_, grad, next(grad));
    sum->group.all_reduce(sum->staged, ReduceOp::kSum, "replicas").wait(stream_);
    begin = 0;
    for (const Tensor& grad : sum->grads) kernels::convert(stream_, next(grad), grad);
  }
}

double LogicalGrads::norm() const {
  double sum = sum_of_squares(stream_, counted_);
  mesh_.world()
      .all_reduce(Tensor(&sum, DType::kF64, {1}), ReduceOp::kSum, "grad_norm")
      .wait(stream_);
  return std::sqrt(sum);
}

}  // namespace nemo
