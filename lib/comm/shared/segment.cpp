#include "lib/comm/shared/segment.h"

#include <sys/mman.h>

#include <atomic>

#include "lib/core/error.h"
#include "lib/core/math.h"

namespace nemo::shared {

struct Segment::Header {
  std::atomic<int64_t> num_taken;  // bytes behind the header
};

std::shared_ptr<Segment> Segment::make_private(int64_t bytes) {
  void* base = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED)
    throw_usage("[comm] cannot reserve {} bytes of address space; raise `ulimit -v`", bytes);
  return std::shared_ptr<Segment>(new Segment(static_cast<std::byte*>(base), bytes));
}

Segment::~Segment() {
  munmap(base_, static_cast<size_t>(bytes_));
}

int64_t Segment::allocate(int64_t bytes, int64_t alignment) {
  const int64_t taken = at<Header>(0)->num_taken.fetch_add(bytes + alignment);
  const int64_t offset = round_up(kFirst + taken, alignment);
  if (offset + bytes > bytes_)
    throw_usage("[comm] {} more bytes do not fit into the {} that the ranks of a host share", bytes,
                bytes_);
  return offset;
}

}  // namespace nemo::shared
