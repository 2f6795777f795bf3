#include "lib/train/run_folder.h"

#include <doctest/doctest.h>

#include "lib/core/error.h"
#include "tests/support/files.h"

using namespace nemo;
using namespace nemo::test;
namespace fs = std::filesystem;

TEST_CASE("an earlier run moves to previous/<n>, in order") {
  const TempFolder folder;
  for (const char* text : {"first", "second", "third"}) {
    prepare_run_folder(folder.path(), folder / "checkpoints");
    write_run_file(folder.path(), "metrics.jsonl", text);
    write_run_file(folder.path(), "recipe.resolved.yaml", text);
  }
  CHECK(read_file(folder / "metrics.jsonl") == "third");
  CHECK(read_file(folder / "previous/1/metrics.jsonl") == "first");
  CHECK(read_file(folder / "previous/2/recipe.resolved.yaml") == "second");
  CHECK_FALSE(fs::exists(folder / "previous/3"));
}

TEST_CASE("a run that holds checkpoints is not overwritten") {
  const TempFolder folder;
  fs::create_directories(folder / "checkpoints/step_00000010");
  write_run_file(folder.path(), "metrics.jsonl", "precious");
  try {
    prepare_run_folder(folder.path(), folder / "checkpoints");
    FAIL("did not throw");
  } catch (const UserError& e) {
    CHECK(e.code() == ExitCode::kUsage);
    CHECK(std::string(e.what()).find("give another log.dir") != std::string::npos);
  }
  CHECK(read_file(folder / "metrics.jsonl") == "precious");
}

TEST_CASE("a folder that cannot be is a usage error") {
  const TempFolder folder;
  write_file(folder / "file", "text");
  const std::string path = folder / "file";
  CHECK_THROWS_WITH_AS(
      prepare_run_folder(path + "/run", folder / "none"),
      ("[log.dir] " + path + "/run: Not a directory; choose a folder that is writable").c_str(),
      UserError);
  CHECK_THROWS_WITH_AS(
      write_run_file(path, "recipe.resolved.yaml", "text"),
      ("[log.dir] " + path +
       "/recipe.resolved.yaml.partial: Not a directory; choose a log.dir that is writable")
          .c_str(),
      UserError);
}
