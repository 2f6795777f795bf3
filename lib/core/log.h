// What the program says of itself beside its results: lines on standard error, by level. The logger
// is made by the application and passed in; there is no global one.
#pragma once

#include <spdlog/logger.h>

#include <memory>

namespace nemo {

using Logger = spdlog::logger;

// Lines without decoration, so that a script can read them: info and above, all with debug.
std::unique_ptr<Logger> make_stderr_logger(bool debug);

}  // namespace nemo
