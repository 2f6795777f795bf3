// The JSON header of a safetensors file: read strictly, written canonically.
// Format: https://github.com/huggingface/safetensors#format
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/dtype.h"

namespace nemo {

// The reference implementation's limit on the header.
inline constexpr int64_t kMaxSafetensorsHeader = 100'000'000;

// One of the format's element types that fill whole bytes.
struct SafetensorsDType {
  std::string_view name;  // "F32", "BF16", …
  int64_t num_bytes = 0;
  std::optional<DType> dtype;  // empty: can be listed and skipped, not computed with
};

// nullptr for an unknown name.
const SafetensorsDType* find_safetensors_dtype(std::string_view name);
const SafetensorsDType& safetensors_dtype(DType dtype);

struct SafetensorsHeaderEntry {
  std::string name;
  const SafetensorsDType* dtype = nullptr;
  std::vector<int64_t> shape;
  int64_t begin = 0;  // bytes, from the end of the header
  int64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsHeaderEntry> tensors;  // by name
  std::map<std::string, std::string> metadata;
};

// Parses and checks `json`, whose tensors must cover exactly the `data_bytes` that follow it: no
// overlap, no hole, nothing behind. Needs memory in proportion to the number of tensors, whatever
// the text holds. Throws a data error that begins with `file`.
SafetensorsHeader parse_safetensors_header(std::string_view json, int64_t data_bytes,
                                           const std::string& file);

// The header of these tensors, padded with blanks to a multiple of 8 bytes as the format advises.
std::string format_safetensors_header(const SafetensorsHeader& header);

}  // namespace nemo
