#include "lib/core/error.h"

namespace nemo {

void throw_invariant(const char* file, int line, const char* condition,
                     const std::string& message) {
  throw InvariantError(fmt::format("{}:{}: {} ({})", file, line, message, condition));
}

}  // namespace nemo
