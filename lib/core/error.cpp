#include "lib/core/error.h"

namespace nemo {

ErrorReport report_of(const std::exception& error) {
  if (const auto* mistake = dynamic_cast<const UserError*>(&error))
    return {mistake->what(), mistake->code()};
  if (dynamic_cast<const InvariantError*>(&error))
    return {fmt::format("broken invariant, please report it: {}", error.what()),
            ExitCode::kInvariant};
  return {fmt::format("unexpected, please report it: {}", error.what()), ExitCode::kInvariant};
}

void throw_invariant(const char* file, int line, const char* condition,
                     const std::string& message) {
  throw InvariantError(fmt::format("{}:{}: {} ({})", file, line, message, condition));
}

}  // namespace nemo
