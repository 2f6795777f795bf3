#include "lib/core/mapped_file.h"

#include <fcntl.h>
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "lib/core/error.h"

namespace nemo {
namespace {

[[noreturn]] void throw_errno(const char* key, const std::string& path, const char* doing,
                              int error) {
  throw_data("[{}] {}: cannot {} it: {}; give a readable file", key, path, doing,
             std::generic_category().message(error));
}

// A page goes on beyond the file's end. Under AddressSanitizer reading there is an error, as it is
// where the file ends with its page.
void forbid_beyond_end([[maybe_unused]] const uint8_t* address, [[maybe_unused]] size_t size,
                       [[maybe_unused]] bool forbid) {
#if defined(__SANITIZE_ADDRESS__)
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t rest = (page - size % page) % page;
  if (forbid) __asan_poison_memory_region(address + size, rest);
  if (!forbid) __asan_unpoison_memory_region(address + size, rest);
#endif
}

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

}  // namespace

MappedFile::MappedFile(const std::string& path, const char* key) {
  // Non-blocking, because opening a pipe without a writer would wait for ever.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) throw_errno(key, path, "open", errno);
  struct stat status = {};
  if (::fstat(file.fd, &status) != 0) throw_errno(key, path, "examine", errno);
  if (S_ISDIR(status.st_mode))
    throw_data("[{}] {}: it is a folder; give the files in it, one by one", key, path);
  if (!S_ISREG(status.st_mode))
    throw_data("[{}] {}: it is not a regular file; copy its content into one", key, path);
  const auto size = static_cast<size_t>(status.st_size);
  if (size == 0) return;
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (address == MAP_FAILED) throw_errno(key, path, "map", errno);
  bytes_ = {static_cast<const uint8_t*>(address), size};
  forbid_beyond_end(bytes_.data(), size, true);
}

MappedFile::~MappedFile() {
  if (bytes_.empty()) return;
  forbid_beyond_end(bytes_.data(), bytes_.size(), false);
  ::munmap(const_cast<uint8_t*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

}  // namespace nemo
