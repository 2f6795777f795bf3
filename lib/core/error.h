// Two kinds of error, and nothing else:
//   UserError       somebody's recipe, data or environment; caught in main, printed as one line.
//   InvariantError  a broken promise of this program; carries file, line and values.
// A message reads `[key or op] what, both values, what to do`.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace nemo {

// The process exit codes users and launchers rely on.
enum class ExitCode : int {
  kOk = 0,
  kInvariant = 1,
  kUsage = 2,
  kData = 3,
  kRankLost = 4,
  kDiverged = 5,
  kRequeue = 75,
  kInterrupted = 130,
};

class UserError : public std::runtime_error {
 public:
  UserError(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

class InvariantError : public std::logic_error {
  using std::logic_error::logic_error;
};

template <typename... Args>
[[noreturn]] void throw_usage(fmt::format_string<Args...> format, Args&&... args) {
  throw UserError(ExitCode::kUsage, fmt::format(format, std::forward<Args>(args)...));
}

template <typename... Args>
[[noreturn]] void throw_data(fmt::format_string<Args...> format, Args&&... args) {
  throw UserError(ExitCode::kData, fmt::format(format, std::forward<Args>(args)...));
}

// What a user reads of an exception, and the exit code that goes with it.
struct ErrorReport {
  std::string message;  // may hold several mistakes, a line each
  ExitCode exit_code;
};
ErrorReport report_of(const std::exception& error);

[[noreturn]] void throw_invariant(const char* file, int line, const char* condition,
                                  const std::string& message);

}  // namespace nemo

// NEMO_CHECK(condition, "format", values...): always on, also in release builds.
#define NEMO_CHECK(condition, ...)                                                         \
  do {                                                                                     \
    if (!(condition)) [[unlikely]]                                                         \
      ::nemo::throw_invariant(__FILE__, __LINE__, #condition, ::fmt::format(__VA_ARGS__)); \
  } while (false)
