// The parts of a dataset, and where its items are cut into them.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "lib/core/math.h"

namespace nemo {

enum class Part : uint8_t { kTrain, kValidation, kTest };
inline constexpr int kNumParts = 3;

// "training", "validation", "test"
std::string_view to_string(Part part);

template <typename T>
using PerPart = std::array<T, kNumParts>;

// The items, of `count`, that go to each part: the shares are divided by their sum and cumulated,
// and cuts made at round-half-even(share * count), all as Megatron-Core does, in doubles. A usage
// error where the shares sum to 0.
PerPart<Range> cut_into_parts(int64_t count, const PerPart<double>& split);

}  // namespace nemo
