#include "lib/parallel/sharding_table.h"

#include <algorithm>

#include "lib/model/param_count.h"

namespace nemo {
namespace {

// Biases go with the rows of their matrices. Key/value heads fewer than the tp ranks are cut into
// single heads, each held by the ranks whose queries read it. Output biases and positions are added
// by one rank, but every rank computes their gradients from the whole dy.
constexpr ShardingRow kTable[] = {
    {ParamRole::kTokenEmbedding, "token_embedding", Axis::kTp, SplitDim::kRows,
     ReplicaGrad::kWhole},
    {ParamRole::kPositionEmbedding, "position_embedding", Axis::kTp, SplitDim::kNone,
     ReplicaGrad::kWhole},
    {ParamRole::kNorm, "norm", Axis::kTp, SplitDim::kNone, ReplicaGrad::kPartOfTokens},
    {ParamRole::kQuery, "query", Axis::kTp, SplitDim::kRows, ReplicaGrad::kWhole},
    {ParamRole::kKeyValue, "key_value", Axis::kTp, SplitDim::kRows, ReplicaGrad::kPart},
    {ParamRole::kAttentionOut, "attention_out", Axis::kTp, SplitDim::kCols, ReplicaGrad::kWhole},
    {ParamRole::kMlpUp, "mlp_up", Axis::kTp, SplitDim::kRows, ReplicaGrad::kWhole},
    {ParamRole::kMlpDown, "mlp_down", Axis::kTp, SplitDim::kCols, ReplicaGrad::kWhole},
    {ParamRole::kOutputBias, "output_bias", Axis::kTp, SplitDim::kNone, ReplicaGrad::kWhole},
    {ParamRole::kHead, "head", Axis::kTp, SplitDim::kRows, ReplicaGrad::kWhole},
    {ParamRole::kRouter, "router", Axis::kTp, SplitDim::kNone, ReplicaGrad::kPartOfTokens},
    {ParamRole::kExpertUp, "expert_up", Axis::kEtp, SplitDim::kRows, ReplicaGrad::kWhole},
    {ParamRole::kExpertDown, "expert_down", Axis::kEtp, SplitDim::kCols, ReplicaGrad::kWhole},
};

const ShardingRow& row_of(ParamRole role) {
  const auto row = std::ranges::find(kTable, role, &ShardingRow::role);
  NEMO_CHECK(row != std::end(kTable), "[sharding] role {} has no row", static_cast<int>(role));
  return *row;
}

bool is_vocab_table(ParamRole role) {
  return role == ParamRole::kTokenEmbedding || role == ParamRole::kHead;
}

}  // namespace

std::span<const ShardingRow> sharding_table() {
  return kTable;
}

Sharding::Sharding(const Recipe& recipe, const ShardingRank& rank)
    : tp_{recipe.parallel.tp_size, rank.tp},
      etp_{recipe.parallel.etp_size, rank.etp},
      ep_{recipe.parallel.ep_size, rank.ep},
      num_query_groups_(recipe.model.num_query_groups),
      sequence_parallel_(recipe.parallel.sequence_parallel) {}

Slice Sharding::slice(const LogicalTensor& tensor) const {
  Slice slice = WholePartition().slice(tensor);
  const SplitDim dim = row_of(tensor.role).dim;
  if (dim == SplitDim::kNone) return slice;
  Range& range = dim == SplitDim::kRows ? slice.rows : slice.cols;
  const int64_t size = range.size();
  const int64_t part = axis_of(tensor.role).rank / num_replicas(tensor.role);
  const int64_t length = is_vocab_table(tensor.role) ? vocab_rows_per_rank(size, tp_.size)
                                                     : div_exact(size, num_parts(tensor.role));
  range = {std::min(size, part * length), std::min(size, (part + 1) * length)};
  return slice;
}

Range Sharding::experts(int64_t num_experts) const {
  const int64_t count = div_exact(num_experts, ep_.size);
  return {ep_.rank * count, (ep_.rank + 1) * count};
}

int64_t Sharding::num_parts(ParamRole role) const {
  if (row_of(role).dim == SplitDim::kNone) return 1;
  const int64_t size = axis_of(role).size;
  return role == ParamRole::kKeyValue ? std::min(size, num_query_groups_) : size;
}

bool Sharding::sums_replicas(ParamRole role) const {
  if (num_replicas(role) == 1) return false;
  const ReplicaGrad grad = row_of(role).replica_grad;
  return grad == ReplicaGrad::kPart || (grad == ReplicaGrad::kPartOfTokens && sequence_parallel_);
}

}  // namespace nemo
