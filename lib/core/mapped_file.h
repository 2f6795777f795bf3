// A file's bytes, mapped read-only: pages come from the page cache, which all processes of a host
// share, and files larger than memory work. The file must not shrink while it is mapped.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace nemo {

class MappedFile {
 public:
  // Throws UserError kData, naming `key` (what the path was given as) and the path, unless it is a
  // readable, regular file. An empty file has no bytes.
  MappedFile(const std::string& path, const char* key);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;

  std::span<const uint8_t> bytes() const { return bytes_; }
  int64_t size() const { return static_cast<int64_t>(bytes_.size()); }
  std::string_view text() const {
    return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()};
  }

 private:
  std::span<const uint8_t> bytes_;
};

}  // namespace nemo
