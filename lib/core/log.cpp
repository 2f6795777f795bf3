#include "lib/core/log.h"

#include <spdlog/sinks/stdout_sinks.h>

namespace nemo {

std::unique_ptr<Logger> make_stderr_logger(bool debug) {
  auto logger =
      std::make_unique<Logger>("nemo-cpp", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%v");
  logger->set_level(debug ? spdlog::level::debug : spdlog::level::info);
  return logger;
}

}  // namespace nemo
