// THE sharding table: which dim of each kind of logical tensor is divided among the tp ranks, and
// what becomes of the gradients of what is not.
#pragma once

#include <span>
#include <string_view>

#include "lib/nn/param.h"
#include "lib/recipe/resolve.h"

namespace nemo {

enum class SplitDim : uint8_t { kNone, kRows, kCols };

// What a rank that shares a slice with others computes of its gradient.
enum class ReplicaGrad : uint8_t {
  kWhole,         // all of it: replicas are equal as they are
  kPart,          // its part: that of its own query heads
  kPartOfTokens,  // with sequence parallelism its part, that of its own tokens; else all of it
};

struct ShardingRow {
  ParamRole role;
  std::string_view name;
  SplitDim dim;
  ReplicaGrad replica_grad;
};

// A row for each role.
std::span<const ShardingRow> sharding_table();

// The table made concrete for one tp rank of a layout. Ranks that share a slice are neighbours.
class Sharding final : public Partition {
 public:
  Sharding(const Recipe& recipe, int64_t tp_rank);

  Slice slice(const LogicalTensor& tensor) const override;

  // Slices that tensors of the role are cut into, and tp ranks that hold each of them.
  int64_t num_parts(ParamRole role) const;
  int64_t num_replicas(ParamRole role) const { return tp_size_ / num_parts(role); }
  bool is_first_replica(ParamRole role) const { return tp_rank_ % num_replicas(role) == 0; }
  // Whether the replicas' gradients must be added up.
  bool sums_replicas(ParamRole role) const;

 private:
  int64_t tp_size_;
  int64_t tp_rank_;
  int64_t num_query_groups_;
  bool sequence_parallel_;
};

}  // namespace nemo
