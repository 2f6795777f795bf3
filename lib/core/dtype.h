// Element types, and the conversions between fp32 and the 16-bit formats.
#pragma once

#include <bit>
#include <cstdint>
#include <string_view>

namespace nemo {

enum class DType : uint8_t { kF32, kBF16, kF16, kF64, kI32, kI64, kU8, kU16 };

constexpr int64_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kF64:
    case DType::kI64:
      return 8;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kBF16:
    case DType::kF16:
    case DType::kU16:
      return 2;
    case DType::kU8:
      return 1;
  }
  return 0;
}

// As recipes and messages spell it: fp32, bf16, fp16, fp64, int32, int64, uint8, uint16.
std::string_view to_string(DType dtype);

// Storage of one bf16 number; arithmetic happens in fp32.
struct BFloat16 {
  uint16_t bits;
};

constexpr float to_float(BFloat16 x) {
  return std::bit_cast<float>(uint32_t{x.bits} << 16);
}

// Round to nearest even; a NaN stays a (quiet) NaN.
constexpr BFloat16 to_bfloat16(float x) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((bits >> 16) | 0x40u)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
}

// Storage of one IEEE binary16 number; arithmetic happens in fp32.
struct Float16 {
  uint16_t bits;
};

// Both directions by selects alone, so that loops over them vectorise.
constexpr float to_float(Float16 x) {
  const uint32_t magnitude = (x.bits & 0x7fffu) << 13;
  // Moves the exponent, subnormal numbers included; infinity and NaN have one of their own.
  const uint32_t scaled = std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) * 0x1p112f);
  const uint32_t bits = magnitude >= 0x0f800000u ? magnitude | 0x7f800000u : scaled;
  return std::bit_cast<float>(bits | (x.bits & 0x8000u) << 16);
}

// Round to nearest even, from 65520 on to infinity; a NaN stays a (quiet) NaN.
constexpr Float16 to_float16(float x) {
  const uint32_t all = std::bit_cast<uint32_t>(x), magnitude = all & 0x7fffffffu;
  const uint32_t normal = (magnitude + 0xc8000fffu + ((magnitude >> 13) & 1u)) >> 13;
  // Next to 0.5 the spacing of fp32 is that of subnormal fp16.
  const uint32_t subnormal =
      std::bit_cast<uint32_t>(std::bit_cast<float>(magnitude) + 0.5f) - 0x3f000000u;
  const uint32_t large = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  const uint32_t finite = magnitude < 0x38800000u ? subnormal : normal;
  const uint32_t bits = magnitude >= 0x47800000u ? large : finite;
  return {static_cast<uint16_t>(bits | (all & 0x80000000u) >> 16)};
}

template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType kValue = DType::kF32;
};
template <>
struct DTypeOf<BFloat16> {
  static constexpr DType kValue = DType::kBF16;
};
template <>
struct DTypeOf<Float16> {
  static constexpr DType kValue = DType::kF16;
};
template <>
struct DTypeOf<double> {
  static constexpr DType kValue = DType::kF64;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType kValue = DType::kI32;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType kValue = DType::kI64;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType kValue = DType::kU8;
};

}  // namespace nemo
