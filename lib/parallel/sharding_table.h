// THE sharding table: which dim of each kind of logical tensor is divided among the ranks of which
// axis, and what becomes of the gradients of what is not. Whole experts are divided among the ep
// ranks beside that.
#pragma once

#include <span>
#include <string_view>

#include "lib/mesh/grid.h"
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
  Axis axis;  // kTp or kEtp
  SplitDim dim;
  ReplicaGrad replica_grad;
};

// A row for each role.
std::span<const ShardingRow> sharding_table();

// A rank's coordinates in what divides weights.
struct ShardingRank {
  int64_t tp = 0;
  int64_t etp = 0;
  int64_t ep = 0;
};

// The table made concrete for one rank of a layout. Ranks that share a slice are neighbours.
class Sharding final : public Partition {
 public:
  Sharding(const Recipe& recipe, const ShardingRank& rank);

  Slice slice(const LogicalTensor& tensor) const override;
  Range experts(int64_t num_experts) const override;

  // Slices that tensors of the role are cut into, and ranks of the axis that hold each of them.
  int64_t num_parts(ParamRole role) const;
  int64_t num_replicas(ParamRole role) const { return axis_of(role).size / num_parts(role); }
  bool is_first_replica(ParamRole role) const {
    return axis_of(role).rank % num_replicas(role) == 0;
  }
  // Whether the replicas' gradients must be added up.
  bool sums_replicas(ParamRole role) const;

 private:
  struct AxisRank {
    int64_t size;
    int64_t rank;
  };
  const AxisRank& axis_of(ParamRole role) const { return is_expert(role) ? etp_ : tp_; }

  AxisRank tp_;
  AxisRank etp_;
  AxisRank ep_;
  int64_t num_query_groups_;
  bool sequence_parallel_;
};

}  // namespace nemo
