#include "lib/checkpoint/safetensors.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "lib/core/error.h"

namespace nemo {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr int64_t kPrefix = sizeof(uint64_t);

// The header's text, its length checked against the file and the format's limit.
std::string_view header_text(const MappedFile& file, const std::string& path) {
  if (file.size() < kPrefix)
    throw_data("[safetensors] {}: expected at least {} bytes, found {}; copy or export it again",
               path, kPrefix, file.size());
  uint64_t length = 0;
  std::memcpy(&length, file.bytes().data(), sizeof(length));
  const int64_t limit = std::min(file.size() - kPrefix, kMaxSafetensorsHeader);
  if (length > static_cast<uint64_t>(limit))
    throw_data(
        "[safetensors] {}: expected a header of at most {} bytes, found length {}; the file "
        "is cut short or not safetensors",
        path, limit, length);
  return file.text().substr(static_cast<size_t>(kPrefix), static_cast<size_t>(length));
}

}  // namespace

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path)
    : path_(path.string()), file_(path.string(), "safetensors") {
  const std::string_view text = header_text(file_, path_);
  const int64_t data_begin = kPrefix + static_cast<int64_t>(text.size());
  SafetensorsHeader header = parse_safetensors_header(text, file_.size() - data_begin, path_);
  for (SafetensorsHeaderEntry& entry : header.tensors)
    tensors_.push_back(
        {std::move(entry.name), entry.dtype, std::move(entry.shape),
         reinterpret_cast<const std::byte*>(file_.bytes().data()) + data_begin + entry.begin,
         entry.end - entry.begin});
  metadata_ = std::move(header.metadata);
}

const SafetensorsTensor* SafetensorsFile::find(std::string_view name) const {
  const auto found =
      std::lower_bound(tensors_.begin(), tensors_.end(), name,
                       [](const SafetensorsTensor& t, std::string_view n) { return t.name < n; });
  return found == tensors_.end() || found->name != name ? nullptr : &*found;
}

const SafetensorsTensor& SafetensorsFile::at(std::string_view name) const {
  const SafetensorsTensor* tensor = find(name);
  if (tensor == nullptr)
    throw_data("[safetensors] {}: expected a tensor {}, found {} others", path_, name,
               tensors_.size());
  return *tensor;
}

SafetensorsWriter::SafetensorsWriter(std::filesystem::path path) : path_(std::move(path)) {
  fd_ = ::open(tmp_path().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd_ < 0) fail("create");
}

// Delegates, so that the destructor clears up after a header that could not be written.
SafetensorsWriter::SafetensorsWriter(std::filesystem::path path, const std::vector<Spec>& tensors,
                                     std::map<std::string, std::string> metadata)
    : SafetensorsWriter(std::move(path)) {
  SafetensorsHeader header{{}, std::move(metadata)};
  for (const Spec& spec : tensors) {
    SafetensorsHeaderEntry entry{spec.name, &safetensors_dtype(spec.dtype), {}, bytes_left_, 0};
    for (int dim = 0; dim < spec.shape.num_dims(); ++dim) entry.shape.push_back(spec.shape[dim]);
    bytes_left_ += spec.shape.numel() * size_of(spec.dtype);
    entry.end = bytes_left_;
    header.tensors.push_back(std::move(entry));
  }
  const std::string text = format_safetensors_header(header);
  const uint64_t length = text.size();
  write_all(&length, sizeof(length));
  write_all(text.data(), static_cast<int64_t>(text.size()));
}

SafetensorsWriter::~SafetensorsWriter() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(tmp_path().c_str());
}

void SafetensorsWriter::append(const void* data, int64_t num_bytes) {
  NEMO_CHECK(num_bytes <= bytes_left_, "[safetensors] {}: {} bytes left to write, got {}",
             path_.string(), bytes_left_, num_bytes);
  write_all(data, num_bytes);
  bytes_left_ -= num_bytes;
}

void SafetensorsWriter::finish() {
  NEMO_CHECK(bytes_left_ == 0, "[safetensors] {}: {} bytes were never written", path_.string(),
             bytes_left_);
  if (::fsync(fd_) != 0) fail("write to disk");
  ::close(std::exchange(fd_, -1));
  if (::rename(tmp_path().c_str(), path_.c_str()) != 0) fail("rename");
}

std::filesystem::path SafetensorsWriter::tmp_path() const {
  std::filesystem::path tmp = path_;
  return tmp += ".tmp";
}

void SafetensorsWriter::write_all(const void* data, int64_t num_bytes) {
  const char* next = static_cast<const char*>(data);
  while (num_bytes > 0) {
    const ssize_t written = ::write(fd_, next, static_cast<size_t>(num_bytes));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write");
    next += written;
    num_bytes -= written;
  }
}

void SafetensorsWriter::fail(const char* what) const {
  throw_data("[safetensors] {}: cannot {}: {}", tmp_path().string(), what, std::strerror(errno));
}

}  // namespace nemo
