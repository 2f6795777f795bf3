#include "lib/train/run_folder.h"

#include <string_view>
#include <system_error>

#include "lib/core/error.h"
#include "lib/train/run_file.h"

namespace nemo {

namespace fs = std::filesystem;

namespace {

constexpr const char* kRunFiles[] = {"recipe.resolved.yaml", "metrics.jsonl", "trace.json",
                                     "tensorboard"};

[[noreturn]] void throw_unusable(std::string_view key, const fs::path& path,
                                 const std::error_code& error) {
  throw_usage("[{}] {}: {}; choose a folder that is writable", key, path.string(), error.message());
}

bool holds_checkpoints(const fs::path& dir) try {
  if (!fs::is_directory(dir)) return false;
  for (const auto& entry : fs::directory_iterator(dir))
    if (entry.path().filename().string().starts_with("step_")) return true;
  return false;
} catch (const fs::filesystem_error& e) {
  throw_unusable("checkpoint.dir", e.path1(), e.code());
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

void prepare_run_folder(const fs::path& dir, const fs::path& checkpoints) {
  std::error_code error;
  if (fs::status(dir, error).type() == fs::file_type::none) throw_unusable("log.dir", dir, error);
  if (holds_checkpoints(checkpoints))
    throw_usage(
        "[log.dir] {} holds checkpoints, which a new run would mix with its own; "
        "give another log.dir or checkpoint.dir",
        checkpoints.string());
  try {
    fs::create_directories(dir);
    for (const char* name : kRunFiles)
      if (fs::exists(dir / name)) return move_to_previous(dir);
  } catch (const fs::filesystem_error& e) {
    throw_unusable("log.dir", e.path1(), e.code());
  }
}

void write_run_file(const fs::path& dir, const std::string& name, const std::string& text) {
  const fs::path partial = dir / (name + ".partial");
  std::error_code error;
  fs::remove(partial, error);
  RunFile(partial, "log.dir").append(text, ExitCode::kUsage);
  fs::rename(partial, dir / name, error);
  if (error) throw_unusable("log.dir", dir / name, error);
}

}  // namespace nemo
