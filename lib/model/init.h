// Initial weights: a function of (seed, name, global element index), whatever slice a rank holds.
#pragma once

#include <cstdint>

#include "lib/device/stream.h"
#include "lib/nn/param.h"

namespace nemo {

// The rows of a Param's tensor that hold one of its parts.
Tensor part_of(const Tensor& param, const ParamPart& part);

// Fills fp32 values [rows, cols] with those of a slice of the tensor; a vector has one column.
void init_slice(Stream& stream, const LogicalTensor& tensor, const Slice& slice, uint64_t seed,
                const Tensor& values);

}  // namespace nemo
