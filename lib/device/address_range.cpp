#include "lib/device/address_range.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "lib/core/error.h"

namespace nemo {

AddressRange reserve_private(int64_t bytes) {
  const size_t size = static_cast<size_t>(bytes);
  void* begin = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (begin == MAP_FAILED)
    throw_usage("[arena] cannot reserve {} bytes of address space: {}; raise `ulimit -v` and `-d`",
                bytes, std::strerror(errno));
  madvise(begin, size, MADV_HUGEPAGE);
  return {static_cast<std::byte*>(begin), bytes,
          std::shared_ptr<void>(begin, [size](void* range) { munmap(range, size); })};
}

}  // namespace nemo
