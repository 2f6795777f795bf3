// A file of the run's folder. It grows by whole records: each has been handed to the system when
// the call returns, or is not there at all.
#pragma once

#include <filesystem>
#include <string_view>

#include "lib/core/error.h"

namespace nemo {

class RunFile {
 public:
  // Opens it to append, made where there is none. `key`, a literal, is the recipe's that messages
  // name. A usage error where it cannot be opened.
  RunFile(const std::filesystem::path& path, const char* key);
  ~RunFile();
  RunFile(const RunFile&) = delete;
  RunFile& operator=(const RunFile&) = delete;

  // A data error where it cannot be written; before training begins a usage error.
  void append(std::string_view record, ExitCode code = ExitCode::kData);

  // A data error where its path leads to no file any more, or to another.
  void check_in_place() const;

 private:
  std::filesystem::path path_;
  const char* key_;
  int file_;
};

}  // namespace nemo
