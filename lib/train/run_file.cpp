#include "lib/train/run_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace nemo {
namespace {

std::error_code last_error() {
  return {errno, std::generic_category()};
}

std::error_code write_all(int file, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) return last_error();
    if (written > 0) bytes.remove_prefix(static_cast<size_t>(written));
  }
  return {};
}

}  // namespace

RunFile::RunFile(const std::filesystem::path& path, const char* key)
    : path_(path),
      key_(key),
      file_(::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666)) {
  if (file_ < 0)
    throw_usage("[{}] {}: {}; choose a log.dir that is writable", key, path.string(),
                last_error().message());
}

RunFile::~RunFile() {
  ::close(file_);
}

void RunFile::append(std::string_view record, ExitCode code) {
  const off_t end = ::lseek(file_, 0, SEEK_END);
  std::error_code error = write_all(file_, record);
  if (!error) return;
  // A disk may have taken a part before it was full; a device, which cannot be cut, has taken none.
  if (::ftruncate(file_, end) != 0 && errno != EINVAL) error = last_error();
  throw UserError(code, fmt::format("[{}] {}: {}; make room for it and start again", key_,
                                    path_.string(), error.message()));
}

void RunFile::check_in_place() const {
  struct stat own {
  }, found{};
  const bool is_there = ::stat(path_.c_str(), &found) == 0 && ::fstat(file_, &own) == 0 &&
                        found.st_ino == own.st_ino && found.st_dev == own.st_dev;
  if (!is_there)
    throw_data("[{}] {}: removed or replaced during the run; give each run a log.dir of its own",
               key_, path_.string());
}

}  // namespace nemo
