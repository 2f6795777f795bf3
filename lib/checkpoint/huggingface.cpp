#include "lib/checkpoint/huggingface.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "lib/checkpoint/hf_names.h"
#include "lib/checkpoint/json_file.h"
#include "lib/core/counted.h"
#include "lib/core/error.h"

namespace nemo {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingleFile = "model.safetensors";
constexpr const char* kIndexFile = "model.safetensors.index.json";
constexpr int64_t kMaxIndexBytes = 100'000'000;

// tensor -> file, from an index.
std::map<std::string, std::string> read_weight_map(const fs::path& index) {
  const nlohmann::json json = read_json_file(index, kMaxIndexBytes);
  const auto map = json.find("weight_map");
  if (map == json.end() || !map->is_object())
    throw_data("[huggingface] {}: expected an object weight_map", index.string());
  std::map<std::string, std::string> files;
  for (const auto& [name, file] : map->items()) {
    if (!file.is_string() ||
        fs::path(file.get<std::string>()).filename() != file.get<std::string>())
      throw_data("[huggingface] {}: expected the name of a file beside it for {}, found {}",
                 index.string(), name, file.dump());
    files[name] = file;
  }
  return files;
}

float from_f32(const std::byte* p) {
  float x;
  std::memcpy(&x, p, sizeof(x));
  return x;
}

float from_bf16(const std::byte* p) {
  BFloat16 x;
  std::memcpy(&x, p, sizeof(x));
  return to_float(x);
}

// IEEE half: 1 sign, 5 exponent (bias 15), 10 mantissa bits.
float from_f16(const std::byte* p) {
  uint16_t half;
  std::memcpy(&half, p, sizeof(half));
  const uint32_t sign = uint32_t{half & 0x8000u} << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu;
  const uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24, exact in fp32
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
  }
  const uint32_t wide = exponent == 31 ? 255u : exponent + 112u;
  return std::bit_cast<float>(sign | wide << 23 | mantissa << 13);
}

// One row of the file at a time when transposed, in tiles so that neither side strides far.
template <auto kLoad, int64_t kWidth>
void copy(const std::byte* data, int64_t row_length, bool transposed, const Slice& slice,
          float* out) {
  const int64_t num_rows = slice.rows.size();
  const int64_t num_cols = slice.cols.size();
  if (!transposed) {
    for (int64_t r = 0; r < num_rows; ++r) {
      const std::byte* row =
          data + ((slice.rows.begin + r) * row_length + slice.cols.begin) * kWidth;
      for (int64_t c = 0; c < num_cols; ++c) out[r * num_cols + c] = kLoad(row + c * kWidth);
    }
    return;
  }
  constexpr int64_t kTile = 32;
  for (int64_t c0 = 0; c0 < num_cols; c0 += kTile)
    for (int64_t r0 = 0; r0 < num_rows; r0 += kTile)
      for (int64_t c = c0; c < std::min(c0 + kTile, num_cols); ++c) {
        const std::byte* row =
            data + ((slice.cols.begin + c) * row_length + slice.rows.begin) * kWidth;
        for (int64_t r = r0; r < std::min(r0 + kTile, num_rows); ++r)
          out[r * num_cols + c] = kLoad(row + r * kWidth);
      }
}

// As a matrix: [rows, columns], a vector with one column.
std::pair<int64_t, int64_t> matrix_sizes(const SafetensorsTensor& tensor) {
  const auto& shape = tensor.shape;
  NEMO_CHECK(shape.size() == 1 || shape.size() == 2, "[huggingface] {} [{}] is no matrix",
             tensor.name, fmt::join(shape, ", "));
  return {shape[0], shape.size() == 2 ? shape[1] : 1};
}

// What the file must hold for a logical tensor of this shape.
std::vector<int64_t> expected_shape(const HfTensorSource& source, const Shape& shape) {
  const int64_t rows = shape[0] * source.num_parts;
  if (shape.num_dims() == 1) return {rows};
  return source.transposed ? std::vector<int64_t>{shape[1], rows}
                           : std::vector<int64_t>{rows, shape[1]};
}

}  // namespace

HfCheckpoint::HfCheckpoint(fs::path directory) : directory_(std::move(directory)) {
  const fs::path single = directory_ / kSingleFile;
  const fs::path index = directory_ / kIndexFile;
  if (fs::exists(single) == fs::exists(index))
    throw_data("[huggingface] {}: expected either {} or {}, found {}; {}", directory_.string(),
               kSingleFile, kIndexFile, fs::exists(single) ? "both" : "neither",
               fs::exists(single) ? "remove the one that is not meant"
                                  : "convert the weights with save_pretrained");
  if (fs::exists(index)) {
    open_shards(index);
    return;
  }
  files_.emplace_back(single);
  for (const SafetensorsTensor& tensor : files_[0].tensors()) tensors_[tensor.name] = &tensor;
}

void HfCheckpoint::open_shards(const fs::path& index) {
  const auto weight_map = read_weight_map(index);
  std::map<std::string, size_t> opened;
  for (const auto& [name, file] : weight_map) {
    if (opened.emplace(file, files_.size()).second) files_.emplace_back(directory_ / file);
    tensors_[name] = &files_[opened.at(file)].at(name);
  }
  size_t num_stored = 0;
  for (const SafetensorsFile& file : files_) num_stored += file.tensors().size();
  if (num_stored != weight_map.size())
    throw_data(
        "[huggingface] {}: it lists {}, its shards hold {}; fetch the checkpoint "
        "again",
        index.string(), counted(std::ssize(weight_map), "tensor"), num_stored);
}

std::vector<std::string> HfCheckpoint::names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  return names;
}

const SafetensorsTensor* HfCheckpoint::find(std::string_view name) const {
  auto found = tensors_.find(name);
  for (const std::string_view prefix : {"model.", "transformer."})
    if (found == tensors_.end() && name.starts_with(prefix))
      found = tensors_.find(name.substr(prefix.size()));
  return found == tensors_.end() ? nullptr : found->second;
}

const SafetensorsTensor& HfCheckpoint::at(std::string_view name) const {
  const SafetensorsTensor* tensor = find(name);
  if (tensor == nullptr)
    throw_data("[huggingface] {}: expected a tensor {}, found {} others; is model.family right?",
               directory_.string(), name, tensors_.size());
  return *tensor;
}

void read_as_float(const SafetensorsTensor& tensor, bool transposed, const Slice& slice,
                   float* out) {
  const auto [file_rows, file_cols] = matrix_sizes(tensor);
  const int64_t rows = transposed ? file_cols : file_rows;
  const int64_t cols = transposed ? file_rows : file_cols;
  const auto inside = [](const Range& range, int64_t size) {
    return range.begin >= 0 && range.begin <= range.end && range.end <= size;
  };
  NEMO_CHECK(inside(slice.rows, rows) && inside(slice.cols, cols),
             "[huggingface] {} is [{}, {}], asked for rows [{}, {}) and columns [{}, {})",
             tensor.name, rows, cols, slice.rows.begin, slice.rows.end, slice.cols.begin,
             slice.cols.end);
  switch (tensor.dtype->dtype.value_or(DType::kU8)) {
    case DType::kF32:
      return copy<from_f32, 4>(tensor.data, file_cols, transposed, slice, out);
    case DType::kBF16:
      return copy<from_bf16, 2>(tensor.data, file_cols, transposed, slice, out);
    case DType::kF16:
      return copy<from_f16, 2>(tensor.data, file_cols, transposed, slice, out);
    default:
      throw_data("[huggingface] tensor {}: expected F32, BF16 or F16, found {}", tensor.name,
                 tensor.dtype->name);
  }
}

void read_logical(const HfCheckpoint& checkpoint, Family family, const LogicalTensor& tensor,
                  const Slice& slice, float* out) {
  const HfTensorSource source = hf_source(family, tensor.name);
  const SafetensorsTensor& stored = checkpoint.at(source.name);
  const std::vector<int64_t> expected = expected_shape(source, tensor.shape);
  if (stored.shape != expected)
    throw_data(
        "[huggingface] {}: tensor {}: expected [{}] for {} {}, found [{}]; does the recipe's "
        "model section describe this checkpoint?",
        checkpoint.directory().string(), source.name, fmt::join(expected, ", "), tensor.name,
        tensor.shape.to_string(), fmt::join(stored.shape, ", "));
  const int64_t first_row = source.part * tensor.shape[0];
  const Slice in_file = {{first_row + slice.rows.begin, first_row + slice.rows.end}, slice.cols};
  read_as_float(stored, source.transposed, in_file, out);
}

}  // namespace nemo
