// Small files for data tests, in a folder that goes away with the test.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "lib/recipe/schema.h"

namespace nemo {

class TempFolder {
 public:
  TempFolder() {
    std::string name = std::filesystem::temp_directory_path() / "nemo_data_XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  TempFolder(const TempFolder&) = delete;

  std::string path(std::string_view name) const { return path_ / name; }
  std::string write(std::string_view name, std::string_view content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

inline DataConfig text_config(std::vector<std::string> paths, int64_t seq_length) {
  DataConfig config;
  config.kind = DataKind::kText;
  config.paths = std::move(paths);
  config.seq_length = seq_length;
  config.shuffle = false;
  config.split = {0.9, 0.1, 0.0};
  return config;
}

}  // namespace nemo
