#include "lib/core/error.h"

#include <system_error>

namespace nemo {

ErrorReport report_of(const std::exception& error) {
  if (const auto* mistake = dynamic_cast<const UserError*>(&error))
    return {mistake->what(), mistake->code()};
  if (dynamic_cast<const InvariantError*>(&error))
    return {fmt::format("broken invariant, please report it: {}", error.what()),
            ExitCode::kInvariant};
  const auto* refused = dynamic_cast<const std::system_error*>(&error);
  if (refused && refused->code() == std::errc::resource_unavailable_try_again)
    return {fmt::format("a thread cannot start: {}; raise `ulimit -u`, `-v` and `-d`",
                        refused->code().message()),
            ExitCode::kUsage};
  return {fmt::format("unexpected, please report it: {}", error.what()), ExitCode::kInvariant};
}

void throw_invariant(const char* file, int line, const char* condition,
                     const std::string& message) {
  throw InvariantError(fmt::format("{}:{}: {} ({})", file, line, message, condition));
}

}  // namespace nemo
