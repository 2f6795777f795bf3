// What a weight is: its names, its shape, which slice of it this rank holds, how it begins.
//
// A Param is what kernels read: one local matrix or vector. It is a stack (along dim 0) of parts,
// each a slice of one logical tensor: merged QKV is three logical tensors in one matrix product.
// Initial values, checkpoints and comparisons speak of logical tensors only, so they do not depend
// on the layout.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lib/core/math.h"
#include "lib/core/shape.h"

namespace nemo {

// What a logical tensor does in the model: what a Partition decides by.
enum class ParamRole {
  kTokenEmbedding,     // [vocab, h]
  kPositionEmbedding,  // [positions, h]
  kNorm,               // [h]
  kQuery,              // [heads * d, h] or [heads * d]
  kKeyValue,           // [groups * d, h] or [groups * d]
  kAttentionOut,       // [h, heads * d]
  kMlpUp,              // [ffn, h] or [ffn]; gate and up alike
  kMlpDown,            // [h, ffn]
  kOutputBias,         // [h]: added once, after the products of kAttentionOut and kMlpDown
  kHead,               // [vocab, h]
  kRouter,             // [experts, h]
  kExpertUp,           // [ffn, h] of one expert; gate and up alike
  kExpertDown,         // [h, ffn] of one expert
};

// Expert weights are on other ranks than dense ones, and see other tokens.
constexpr bool is_expert(ParamRole role) {
  return role == ParamRole::kExpertUp || role == ParamRole::kExpertDown;
}

enum class Init { kZeros, kOnes, kNormal };

struct LogicalTensor {
  std::string name;  // "layers.3.attention.q.weight"
  ParamRole role;
  Shape shape;  // of the whole model
  Init init = Init::kNormal;
  float init_std = 0;  // of kNormal
};

// The rows and columns of a logical tensor that one rank holds; cols is [0, 1) for a vector.
struct Slice {
  Range rows;
  Range cols;
};

// Decides slices, by role: lib/parallel's sharding table. WholePartition is a rank that holds
// everything.
class Partition {
 public:
  virtual ~Partition() = default;
  virtual Slice slice(const LogicalTensor& tensor) const = 0;
  // The experts of which it holds slices.
  virtual Range experts(int64_t num_experts) const = 0;
};

class WholePartition : public Partition {
 public:
  Slice slice(const LogicalTensor& tensor) const override;
  Range experts(int64_t num_experts) const override { return {0, num_experts}; }
};

using ParamId = int;
inline constexpr ParamId kNoParam = -1;

struct ParamPart {
  LogicalTensor tensor;
  Slice slice;
  int64_t first_row;  // in the Param
};

struct Param {
  std::string name;  // "layers.3.attention.qkv.weight"
  Shape shape;       // local
  std::vector<ParamPart> parts;
  int unit;    // that it is gathered and reduced with
  bool decay;  // matrices decay, vectors do not

  bool is_expert() const { return nemo::is_expert(parts[0].tensor.role); }
};

// The parameters of one stage, in the order of forward, cut into units (embedding, blocks, head).
class ParamSet {
 public:
  explicit ParamSet(const Partition& partition) : partition_(partition) {}

  // Params added from here on belong to a new unit; returns its index.
  int begin_unit(const std::string& name);
  // A Param stacked from slices of these logical tensors.
  ParamId add(const std::string& name, const std::vector<LogicalTensor>& tensors);

  const std::vector<Param>& params() const { return params_; }
  const Param& operator[](ParamId id) const { return params_[static_cast<size_t>(id)]; }
  int num_params() const { return static_cast<int>(params_.size()); }
  int num_units() const { return static_cast<int>(unit_names_.size()); }
  const std::string& unit_name(int unit) const { return unit_names_[static_cast<size_t>(unit)]; }
  // Those of which this rank holds slices.
  Range experts(int64_t num_experts) const { return partition_.experts(num_experts); }

  // Local elements.
  int64_t numel() const;

 private:
  const Partition& partition_;
  std::vector<Param> params_;
  std::vector<std::string> unit_names_;
};

}  // namespace nemo
