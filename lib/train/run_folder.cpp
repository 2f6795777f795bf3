#include "lib/train/run_folder.h"

#include <fstream>

#include "lib/core/error.h"

namespace nemo {

namespace fs = std::filesystem;

namespace {

constexpr const char* kRunFiles[] = {"recipe.resolved.yaml", "metrics.jsonl", "trace.json",
                                     "tensorboard"};

bool holds_checkpoints(const fs::path& dir) {
  if (!fs::is_directory(dir)) return false;
  for (const auto& entry : fs::directory_iterator(dir))
    if (entry.path().filename().string().starts_with("step_")) return true;
  return false;
}

void move_to_previous(const fs::path& dir) {
  int n = 1;
  while (fs::exists(dir / "previous" / std::to_string(n))) ++n;
  const fs::path previous = dir / "previous" / std::to_string(n);
  fs::create_directories(previous);
  for (const char* name : kRunFiles)
    if (fs::exists(dir / name)) fs::rename(dir / name, previous / name);
}

}  // namespace

void prepare_run_folder(const fs::path& dir, const fs::path& checkpoints) try {
  if (holds_checkpoints(checkpoints))
    throw_usage(
        "[log.dir] {} holds checkpoints, which a new run would mix with its own; "
        "give another log.dir or checkpoint.dir",
        checkpoints.string());
  fs::create_directories(dir);
  for (const char* name : kRunFiles)
    if (fs::exists(dir / name)) return move_to_previous(dir);
} catch (const fs::filesystem_error& e) {
  throw_usage("[log.dir] {}; choose a folder that is writable", e.what());
}

void write_run_file(const fs::path& dir, const std::string& name, const std::string& text) {
  const fs::path partial = dir / (name + ".partial");
  std::ofstream file(partial, std::ios::binary);
  file << text;
  file.close();
  if (!file)
    throw_usage("[log.dir] cannot write {}; choose a folder that is writable", partial.string());
  fs::rename(partial, dir / name);
}

}  // namespace nemo
