// A Hugging Face checkpoint folder: model.safetensors, or shards with model.safetensors.index.json.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/checkpoint/safetensors.h"
#include "lib/nn/param.h"
#include "lib/recipe/choice.h"

namespace nemo {

class HfCheckpoint {
 public:
  // Maps every file of the checkpoint. Throws a data error when a file is missing or damaged, or
  // when the index and the shards disagree.
  explicit HfCheckpoint(std::filesystem::path directory);

  const std::filesystem::path& directory() const { return directory_; }
  std::vector<std::string> names() const;  // sorted
  // Also finds a tensor saved without its leading "model." or "transformer.", as the body of a
  // model saves it. at() throws a data error when absent; find() returns nullptr.
  const SafetensorsTensor* find(std::string_view name) const;
  const SafetensorsTensor& at(std::string_view name) const;

 private:
  void open_shards(const std::filesystem::path& index);

  std::filesystem::path directory_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, const SafetensorsTensor*, std::less<>> tensors_;
};

// out[r * slice.cols.size() + c] = element (slice.rows.begin + r, slice.cols.begin + c) of the
// tensor, transposed first if asked for; a vector is a matrix of one column. F32, BF16 and F16
// become fp32 exactly; any other dtype is a data error.
void read_as_float(const SafetensorsTensor& tensor, bool transposed, const Slice& slice,
                   float* out);

// The slice of a logical tensor (tensor.name and tensor.shape are used) from where `family` keeps
// it. A tensor that is absent or of another shape is a data error.
void read_logical(const HfCheckpoint& checkpoint, Family family, const LogicalTensor& tensor,
                  const Slice& slice, float* out);

}  // namespace nemo
