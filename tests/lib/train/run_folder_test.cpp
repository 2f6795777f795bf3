#include "lib/train/run_folder.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "lib/core/error.h"

using namespace nemo;
namespace fs = std::filesystem;

namespace {

struct TempFolder {
  fs::path path = fs::temp_directory_path() / ("nemo-run-folder-" + std::to_string(getpid()));
  TempFolder() { fs::remove_all(path); }
  ~TempFolder() { fs::remove_all(path); }
};

std::string read(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace

TEST_CASE("an earlier run moves to previous/<n>, in order") {
  const TempFolder folder;
  for (const char* text : {"first", "second", "third"}) {
    prepare_run_folder(folder.path, folder.path / "checkpoints");
    write_run_file(folder.path, "metrics.jsonl", text);
    write_run_file(folder.path, "recipe.resolved.yaml", text);
  }
  CHECK(read(folder.path / "metrics.jsonl") == "third");
  CHECK(read(folder.path / "previous/1/metrics.jsonl") == "first");
  CHECK(read(folder.path / "previous/2/recipe.resolved.yaml") == "second");
  CHECK_FALSE(fs::exists(folder.path / "previous/3"));
}

TEST_CASE("a run that holds checkpoints is not overwritten") {
  const TempFolder folder;
  fs::create_directories(folder.path / "checkpoints/step_00000010");
  write_run_file(folder.path, "metrics.jsonl", "precious");
  try {
    prepare_run_folder(folder.path, folder.path / "checkpoints");
    FAIL("did not throw");
  } catch (const UserError& e) {
    CHECK(e.code() == ExitCode::kUsage);
    CHECK(std::string(e.what()).find("give another log.dir") != std::string::npos);
  }
  CHECK(read(folder.path / "metrics.jsonl") == "precious");
}

TEST_CASE("a folder that cannot be is a usage error") {
  const TempFolder folder;
  fs::create_directories(folder.path);
  std::ofstream(folder.path / "file") << "text";
  CHECK_THROWS_AS(prepare_run_folder(folder.path / "file/run", folder.path / "none"), UserError);
}
