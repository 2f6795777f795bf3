// The table of rotary position embeddings: which angle each position turns each pair by.
#pragma once

#include "lib/device/stream.h"
#include "lib/recipe/schema.h"

namespace nemo {

// [num_positions, head_dim], computed in fp32: row p holds cos(p f_i), then sin(p f_i), i <
// head_dim / 2, with f_i = base^(-2 i / head_dim), scaled. llama3 scaling: wavelengths above old
// context / low_freq_factor are stretched by factor, those below old context / high_freq_factor
// kept, those between interpolated.
Tensor make_rope_table(Arena& arena, int64_t num_positions, int64_t head_dim, double base,
                       const RopeScaling& scaling, DType dtype = DType::kF32);

}  // namespace nemo
