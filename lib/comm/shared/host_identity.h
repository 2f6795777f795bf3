#pragma once

#include <string>

namespace nemo::shared {

// The same for two processes that may share memory: hostname, the boot, and the namespaces of
// network and processes. They share it where one could also open the other's segment.
std::string host_identity();

}  // namespace nemo::shared
