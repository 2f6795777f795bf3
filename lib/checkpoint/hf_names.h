// Where Hugging Face checkpoints keep the logical tensors of nemo-cpp.
//
// Logical matrices are [out, in], as in Hugging Face's llama and mixtral. GPT-2 keeps its matrices
// as [in, out], and q, k and v side by side in one tensor.
#pragma once

#include <string>
#include <string_view>

#include "lib/recipe/choice.h"

namespace nemo {

// The logical tensor is rows [part, part + 1) * (rows / num_parts) of the tensor `name`, which is
// transposed first where `transposed` says so.
struct HfTensorSource {
  std::string name;
  bool transposed = false;
  int part = 0;
  int num_parts = 1;
  bool operator==(const HfTensorSource&) const = default;
};

// An unknown logical name is a broken invariant.
HfTensorSource hf_source(Family family, std::string_view logical_name);

}  // namespace nemo
