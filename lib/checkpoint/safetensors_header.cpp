#include "lib/checkpoint/safetensors_header.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "lib/core/counted.h"
#include "lib/core/error.h"
#include "lib/core/math.h"

namespace nemo {
namespace {

using Json = nlohmann::json;

constexpr std::array<SafetensorsDType, 17> kDTypes = {{
    {"F32", 4, DType::kF32},
    {"BF16", 2, DType::kBF16},
    {"F16", 2, DType::kF16},
    {"F64", 8, DType::kF64},
    {"I32", 4, DType::kI32},
    {"I64", 8, DType::kI64},
    {"U8", 1, DType::kU8},
    {"U16", 2, DType::kU16},
    {"BOOL", 1, {}},
    {"I8", 1, {}},
    {"I16", 2, {}},
    {"U32", 4, {}},
    {"U64", 8, {}},
    {"F8_E4M3", 1, {}},
    {"F8_E5M2", 1, {}},
    {"F8_E8M0", 1, {}},
    {"C64", 8, {}},
}};

// Takes the header's JSON piece by piece and refuses the first piece that does not belong, so
// neither deep nesting nor endless junk is ever held.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  explicit HeaderReader(const std::string& file) : file_(file) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool null() override { return refuse("null"); }
  bool boolean(bool) override { return refuse("a boolean"); }
  bool number_integer(number_integer_t) override { return refuse("a negative number"); }
  bool number_float(number_float_t, const string_t& text) override { return refuse(text); }
  bool binary(binary_t&) override { return refuse("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (at_ != At::kShapeItems && at_ != At::kOffsetItems) return refuse("a number");
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      return refuse(std::to_string(value));
    if (at_ == At::kShapeItems) {
      tensor().shape.push_back(static_cast<int64_t>(value));
    } else {
      if (num_offsets_ == 2) return refuse("a third data offset");
      (num_offsets_++ == 0 ? tensor().begin : tensor().end) = static_cast<int64_t>(value);
    }
    return true;
  }

  bool string(string_t& text) override {
    if (at_ == At::kMetadataValue) {
      header_.metadata[key_] = text;
      at_ = At::kMetadata;
      return true;
    }
    if (at_ != At::kDType) return refuse("a string");
    tensor().dtype = find_safetensors_dtype(text);
    if (tensor().dtype == nullptr) return refuse("dtype " + text);
    at_ = At::kTensor;
    return true;
  }

  bool start_object(size_t) override {
    if (at_ == At::kStart) {
      at_ = At::kTop;
    } else if (at_ == At::kTensorStart) {
      at_ = At::kTensor;
    } else if (at_ == At::kMetadataStart) {
      at_ = At::kMetadata;
    } else {
      return refuse("an object");
    }
    return true;
  }

  bool key(string_t& name) override {
    key_ = name;
    switch (at_) {
      case At::kTop:
        return top_key();
      case At::kMetadata:
        at_ = At::kMetadataValue;
        return !header_.metadata.contains(name) || refuse("a second " + name);
      default:
        return tensor_key();
    }
  }

  bool end_object() override {
    if (at_ == At::kTensor && seen_ != kAllFields)
      return refuse("an end without dtype, shape and data_offsets");
    at_ = at_ == At::kTop ? At::kEnd : At::kTop;
    return true;
  }

  bool start_array(size_t) override {
    if (at_ == At::kShape) {
      at_ = At::kShapeItems;
    } else if (at_ == At::kOffsets) {
      at_ = At::kOffsetItems;
    } else {
      return refuse("an array");
    }
    return true;
  }

  bool end_array() override {
    if (at_ == At::kOffsetItems && num_offsets_ != 2) return refuse("fewer than two data_offsets");
    at_ = At::kTensor;
    return true;
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    throw_data(
        "[safetensors] {}: expected a JSON header, found bad JSON at its byte {}; copy or "
        "export the file again",
        file_, position);
  }

 private:
  // Where in the header the next piece stands; the …Value, …Start and …Items states are entered
  // by a key or a bracket and left by what they wait for.
  enum class At {
    kStart,
    kTop,
    kTensorStart,
    kTensor,
    kDType,
    kShape,
    kShapeItems,
    kOffsets,
    kOffsetItems,
    kMetadataStart,
    kMetadata,
    kMetadataValue,
    kEnd,
  };
  static constexpr int kAllFields = 7;

  bool top_key() {
    if (key_ == "__metadata__") {
      if (std::exchange(has_metadata_, true)) return refuse("a second __metadata__");
      at_ = At::kMetadataStart;
      return true;
    }
    if (std::any_of(key_.begin(), key_.end(), [](char c) { return c >= 0 && c < ' '; }))
      return refuse("a name with a control character");
    header_.tensors.emplace_back().name = key_;
    seen_ = 0;
    num_offsets_ = 0;
    at_ = At::kTensorStart;
    return true;
  }

  bool tensor_key() {
    constexpr std::array<std::pair<std::string_view, At>, 3> kFields = {
        {{"dtype", At::kDType}, {"shape", At::kShape}, {"data_offsets", At::kOffsets}}};
    for (size_t i = 0; i < kFields.size(); ++i) {
      if (key_ != kFields[i].first) continue;
      const int bit = 1 << i;
      if ((seen_ & bit) != 0) return refuse("a second " + key_);
      seen_ |= bit;
      at_ = kFields[i].second;
      return true;
    }
    return refuse("field " + key_);
  }

  bool refuse(const std::string& what) {
    const bool in_tensor = !header_.tensors.empty() && at_ > At::kTop && at_ < At::kMetadataStart;
    throw_data(
        "[safetensors] {}: expected {{dtype, shape, data_offsets}} for each tensor and text "
        "for metadata, found {} in {}; copy or export the file again",
        file_, what, in_tensor ? "tensor " + tensor().name : "the header");
  }

  SafetensorsHeaderEntry& tensor() { return header_.tensors.back(); }

  const std::string& file_;
  SafetensorsHeader header_;
  At at_ = At::kStart;
  std::string key_;
  bool has_metadata_ = false;
  int seen_ = 0;  // bits of the fields read
  int num_offsets_ = 0;
};

void check_size(const SafetensorsHeaderEntry& tensor, const std::string& file) {
  int64_t expected = tensor.dtype->num_bytes;
  bool overflow = false;
  for (const int64_t size : tensor.shape)
    overflow = overflow || __builtin_mul_overflow(expected, size, &expected);
  if (overflow)
    throw_data("[safetensors] {}: tensor {}: shape [{}] has more bytes than 64 bits count", file,
               tensor.name, fmt::join(tensor.shape, ", "));
  if (tensor.end - tensor.begin != expected)
    throw_data("[safetensors] {}: tensor {}: {} [{}] needs {}, data_offsets are [{}, {}]", file,
               tensor.name, tensor.dtype->name, fmt::join(tensor.shape, ", "),
               counted(expected, "byte"), tensor.begin, tensor.end);
}

void check_names(const std::vector<SafetensorsHeaderEntry>& by_name, const std::string& file) {
  const auto same =
      std::adjacent_find(by_name.begin(), by_name.end(),
                         [](const auto& a, const auto& b) { return a.name == b.name; });
  if (same != by_name.end())
    throw_data("[safetensors] {}: expected each tensor once, found {} twice", file, same->name);
}

void check_cover(const std::vector<SafetensorsHeaderEntry>& tensors, int64_t data_bytes,
                 const std::string& file) {
  std::vector<const SafetensorsHeaderEntry*> by_offset;
  for (const auto& tensor : tensors) by_offset.push_back(&tensor);
  std::sort(by_offset.begin(), by_offset.end(), [](const auto* a, const auto* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  int64_t end = 0;
  for (const auto* tensor : by_offset) {
    if (tensor->begin != end)
      throw_data("[safetensors] {}: tensor {}: expected its data at byte {}, found {}: tensors {}",
                 file, tensor->name, end, tensor->begin,
                 tensor->begin < end ? "overlap" : "leave a hole");
    end = tensor->end;
  }
  if (end != data_bytes)
    throw_data("[safetensors] {}: expected {} of data after the header, found {}: {}", file,
               counted(end, "byte"), data_bytes,
               data_bytes < end ? "the file is cut short" : "junk at the end");
}

}  // namespace

const SafetensorsDType* find_safetensors_dtype(std::string_view name) {
  const auto found =
      std::find_if(kDTypes.begin(), kDTypes.end(),
                   [&](const SafetensorsDType& dtype) { return dtype.name == name; });
  return found == kDTypes.end() ? nullptr : &*found;
}

const SafetensorsDType& safetensors_dtype(DType dtype) {
  const auto found = std::find_if(kDTypes.begin(), kDTypes.end(),
                                  [&](const SafetensorsDType& d) { return d.dtype == dtype; });
  NEMO_CHECK(found != kDTypes.end(), "[safetensors] no name for {}", to_string(dtype));
  return *found;
}

SafetensorsHeader parse_safetensors_header(std::string_view json, int64_t data_bytes,
                                           const std::string& file) {
  HeaderReader reader(file);
  Json::sax_parse(json, &reader);
  SafetensorsHeader header = reader.take();
  std::sort(header.tensors.begin(), header.tensors.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  check_names(header.tensors, file);
  for (const auto& tensor : header.tensors) check_size(tensor, file);
  check_cover(header.tensors, data_bytes, file);
  return header;
}

std::string format_safetensors_header(const SafetensorsHeader& header) {
  auto json = nlohmann::ordered_json::object();
  if (!header.metadata.empty()) json["__metadata__"] = header.metadata;
  for (const auto& tensor : header.tensors) {
    NEMO_CHECK(!json.contains(tensor.name), "[safetensors] {} is given twice", tensor.name);
    json[tensor.name] = {{"dtype", tensor.dtype->name},
                         {"shape", tensor.shape},
                         {"data_offsets", {tensor.begin, tensor.end}}};
  }
  std::string text = json.dump();
  text.resize(round_up(text.size(), size_t{8}), ' ');
  return text;
}

}  // namespace nemo
