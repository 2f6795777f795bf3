#include "apps/nemo-cpp/openmp_waiting.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "lib/core/error.h"

namespace nemo {
namespace {

// Turns of libgomp's waiting loop, 14 ns each here and up to 50 elsewhere: as long as one thread of
// a team waits for another where each has a core. Unset it is 300000, some milliseconds, which a
// thread without a core of its own waits for at every kernel.
constexpr const char* kSpinCount = "1000";

}  // namespace

void limit_openmp_spinning(char** argv) {
  if (std::getenv("GOMP_SPINCOUNT") || std::getenv("OMP_WAIT_POLICY")) return;
  setenv("GOMP_SPINCOUNT", kSpinCount, /*overwrite=*/1);
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    execv(program.c_str(), argv);
    error = {errno, std::generic_category()};
  }
  throw_usage("{} cannot be started anew with GOMP_SPINCOUNT={}: {}; set it yourself", argv[0],
              kSpinCount, error.message());
}

}  // namespace nemo
