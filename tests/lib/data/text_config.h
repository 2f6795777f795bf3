// Text data for a test: these files in order, nine tenths to train on.
#pragma once

#include <string>
#include <vector>

#include "lib/recipe/schema.h"

namespace nemo {

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
