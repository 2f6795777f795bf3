#include "lib/train/run_file.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <csignal>

#include "tests/support/files.h"

using namespace nemo;
using namespace nemo::test;

namespace {

// No file of this process grows beyond so many bytes, as on a disk that is full.
class LittleRoom {
 public:
  explicit LittleRoom(rlim_t bytes) : before_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    rlimit little = before_;
    little.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &little);
  }
  ~LittleRoom() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, before_handler_);
  }

 private:
  void (*before_handler_)(int);
  rlimit before_{};
};

UserError error_of(const auto& body) {
  try {
    body();
  } catch (const UserError& e) {
    return e;
  }
  return {ExitCode::kOk, "nothing was thrown"};
}

}  // namespace

TEST_CASE("records are appended to what is there") {
  const TempFolder folder;
  RunFile(folder / "file", "log.dir").append("one\n");
  RunFile(folder / "file", "log.dir").append("two\n");
  CHECK(read_file(folder / "file") == "one\ntwo\n");
}

TEST_CASE("a record that does not fit leaves nothing of itself, and a smaller one still fits") {
  const TempFolder folder;
  const std::string record(60, 'x');
  RunFile file(folder / "file", "log.dir");
  UserError error(ExitCode::kOk, "");
  {
    const LittleRoom room(100);
    file.append(record);
    error = error_of([&] { file.append(record); });
    file.append("small");
  }
  CHECK(error.code() == ExitCode::kData);
  CHECK(std::string(error.what()) == "[log.dir] " + (folder / "file").string() +
                                         ": File too large; make room for it and start again");
  CHECK(read_file(folder / "file") == record + "small");
}

TEST_CASE("before training a record that cannot be written is a usage error") {
  RunFile full("/dev/full", "log.tensorboard");
  const UserError error = error_of([&] { full.append("line", ExitCode::kUsage); });
  CHECK(error.code() == ExitCode::kUsage);
  CHECK(std::string(error.what()) ==
        "[log.tensorboard] /dev/full: No space left on device; make room for it and start again");
}

TEST_CASE("a file that cannot be opened is a usage error") {
  const UserError error = error_of([] { RunFile("/proc/nowhere/file", "log.dir"); });
  CHECK(error.code() == ExitCode::kUsage);
  CHECK(std::string(error.what()) ==
        "[log.dir] /proc/nowhere/file: No such file or directory; choose a log.dir that is "
        "writable");
}
