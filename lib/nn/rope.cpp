#include "lib/nn/rope.h"

#include <cmath>
#include <numbers>

#include "kernels/functors/storage.h"

namespace nemo {
namespace {

// In fp32, as the checkpoints' own code computes it: the reference is what they were trained with.
float scaled_frequency(float frequency, const RopeScaling& scaling) {
  const double old_context = static_cast<double>(scaling.original_max_position_embeddings);
  const double wavelength = 2 * std::numbers::pi / frequency;
  const double longest = old_context / scaling.low_freq_factor;
  const double shortest = old_context / scaling.high_freq_factor;
  if (wavelength < shortest) return frequency;
  const float stretched = static_cast<float>(frequency / scaling.factor);
  if (wavelength > longest) return stretched;
  const double smooth = (old_context / wavelength - scaling.low_freq_factor) /
                        (scaling.high_freq_factor - scaling.low_freq_factor);
  return static_cast<float>((1 - smooth) * stretched + smooth * frequency);
}

}  // namespace

Tensor make_rope_table(Arena& arena, int64_t num_positions, int64_t head_dim, double base,
                       const RopeScaling& scaling, DType dtype) {
  Tensor table(arena, dtype, {num_positions, head_dim}, MemoryCategory::kWorkspace, "rope.table");
  if (arena.device().kind == DeviceKind::kRecord) return table;
  const int64_t half = head_dim / 2;
  kernels::with_storage(dtype, [&]<typename T>(T) {
    for (int64_t i = 0; i < half; ++i) {
      const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(head_dim);
      float frequency = static_cast<float>(std::pow(base, exponent));
      if (scaling.type == RopeScalingType::kLlama3)
        frequency = scaled_frequency(frequency, scaling);
      for (int64_t p = 0; p < num_positions; ++p) {
        const float angle = static_cast<float>(p) * frequency;
        T* row = table.data<T>() + p * head_dim;
        kernels::store(std::cos(angle), row + i);
        kernels::store(std::sin(angle), row + half + i);
      }
    }
  });
  return table;
}

}  // namespace nemo
