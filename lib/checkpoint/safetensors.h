// safetensors files (semantics: little-endian; u64 header length, JSON header, the bytes), read
// through a memory map and written as a stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/checkpoint/safetensors_header.h"
#include "lib/core/dtype.h"
#include "lib/core/mapped_file.h"
#include "lib/core/shape.h"

namespace nemo {

struct SafetensorsTensor {
  std::string name;
  const SafetensorsDType* dtype = nullptr;
  std::vector<int64_t> shape;
  const std::byte* data = nullptr;  // inside the map; of any alignment
  int64_t num_bytes = 0;
};

class SafetensorsFile {
 public:
  // Checks everything the header says before a byte of data can be read; a damaged file is a data
  // error that names the file, what was expected and what was found.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::string& path() const { return path_; }
  const std::vector<SafetensorsTensor>& tensors() const { return tensors_; }  // by name
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const SafetensorsTensor* find(std::string_view name) const;  // nullptr when absent
  const SafetensorsTensor& at(std::string_view name) const;    // a data error when absent

 private:
  std::string path_;
  MappedFile file_;
  std::vector<SafetensorsTensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

// Writes `path` by way of `path`.tmp, so that a file of that name is always whole.
class SafetensorsWriter {
 public:
  struct Spec {
    std::string name;
    DType dtype;
    Shape shape;
  };

  // The header is written at once. Failing to write is a data error with the system's reason.
  SafetensorsWriter(std::filesystem::path path, const std::vector<Spec>& tensors,
                    std::map<std::string, std::string> metadata = {});
  ~SafetensorsWriter();  // unfinished: removes the .tmp
  SafetensorsWriter(const SafetensorsWriter&) = delete;
  SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

  // The next bytes of the tensors in the order of `tensors`, in pieces of any size.
  void append(const void* data, int64_t num_bytes);
  // All bytes must have been appended. Synchronises with the disk and renames.
  void finish();

 private:
  explicit SafetensorsWriter(std::filesystem::path path);
  std::filesystem::path tmp_path() const;
  void write_all(const void* data, int64_t num_bytes);
  [[noreturn]] void fail(const char* what) const;

  std::filesystem::path path_;
  int fd_ = -1;
  int64_t bytes_left_ = 0;
};

}  // namespace nemo
