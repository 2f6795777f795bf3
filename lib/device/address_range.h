// Address space for an arena. Pages cost nothing until touched and start as zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace nemo {

struct AddressRange {
  std::byte* begin = nullptr;
  int64_t bytes = 0;
  std::shared_ptr<void> owner;  // gives it back; nobody where there is nothing to give
};

// Memory of this process alone, in huge pages where the system grants them. A usage error where
// there is no such range left.
AddressRange reserve_private(int64_t bytes);

}  // namespace nemo
