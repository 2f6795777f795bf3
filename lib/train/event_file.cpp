#include "lib/train/event_file.h"

#include <fmt/format.h>

#include <bit>
#include <chrono>

#include "lib/core/crc32c.h"
#include "lib/core/error.h"

namespace nemo {

namespace fs = std::filesystem;

namespace {

// Field numbers of the .proto files.
namespace event {
enum { kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7 };
}
namespace session_log {
enum { kStatus = 1 };
enum { kStart = 1 };
}  // namespace session_log
namespace summary {
enum { kValue = 1 };
}
namespace value {
enum { kTag = 1, kSimpleValue = 2 };
}

// Checksums are masked because a checksum over bytes that hold checksums is weak.
uint32_t masked_crc32c(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xa282ead8u;
}

double seconds_since_epoch() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

// TensorBoard reads a folder's files in the order of their names, so the time comes first.
fs::path new_path(const fs::path& folder, std::string_view host, int64_t pid) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    throw_usage("[log.tensorboard] {}: {}; choose a log.dir that is writable", folder.string(),
                error.message());
  const auto seconds = static_cast<int64_t>(seconds_since_epoch());
  for (int n = 0;; ++n) {
    fs::path path =
        folder / fmt::format("events.out.tfevents.{:010}.{}.{}.{}", seconds, host, pid, n);
    if (!fs::exists(path, error)) return path;
  }
}

}  // namespace

EventFile::EventFile(const fs::path& folder, std::string_view host, int64_t pid, int64_t first_step)
    : file_(new_path(folder, host, pid), "log.tensorboard") {
  begin_event();
  event_.add_bytes(event::kFileVersion, "brain.Event:2");
  write_event(ExitCode::kUsage);
  value_.clear();
  value_.add_int64(session_log::kStatus, session_log::kStart);
  begin_event();
  event_.add_int64(event::kStep, first_step);
  event_.add_bytes(event::kSessionLog, value_.bytes());
  write_event(ExitCode::kUsage);
}

void EventFile::add(std::string_view group, std::string_view field, double figure) {
  tag_.assign(group).append("/").append(field);
  value_.clear();
  value_.add_bytes(value::kTag, tag_);
  value_.add_float(value::kSimpleValue, static_cast<float>(figure));
  summary_.add_bytes(summary::kValue, value_.bytes());
}

void EventFile::write(int64_t step) {
  begin_event();
  event_.add_int64(event::kStep, step);
  event_.add_bytes(event::kSummary, summary_.bytes());
  write_event();
  summary_.clear();
}

void EventFile::begin_event() {
  event_.clear();
  event_.add_double(event::kWallTime, seconds_since_epoch());
}

void EventFile::write_event(ExitCode code) {
  const std::string_view bytes = event_.bytes();
  record_.clear();
  append_fixed<uint64_t>(record_, bytes.size());
  append_fixed(record_, masked_crc32c(record_));
  record_.append(bytes);
  append_fixed(record_, masked_crc32c(bytes));
  file_.append(record_, code);
}

}  // namespace nemo
