// Element-wise reduction of the same range of several ranks' buffers, in rank order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "lib/comm/communicator.h"

namespace nemo {

// outputs[j][i] = inputs[0][i] op inputs[1][i] op …, for every output and i < count, evaluated from
// the left; bf16 and fp16 in fp32 and rounded once. An output may be an input.
void reduce(DType dtype, ReduceOp op, std::span<const std::byte* const> inputs,
            std::span<std::byte* const> outputs, int64_t count);

}  // namespace nemo
