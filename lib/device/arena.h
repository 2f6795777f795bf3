// The memory of one rank: one reserved address range, handed out in named, counted buffers.
//
// Allocation is best fit over the free blocks, which coalesce, so the same sequence of requests
// always lands at the same addresses, and a steady-state step takes nothing from the system. Freed
// ranges are poisoned for AddressSanitizer. One thread only: the rank's own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <memory_resource>
#include <set>
#include <utility>
#include <vector>

#include "lib/device/address_range.h"
#include "lib/device/device.h"
#include "lib/device/memory.h"

namespace nemo {

class Arena;

// One allocation; lives in the arena's pool and is shared by the Buffers that name it.
struct Allocation {
  Arena* arena = nullptr;
  std::byte* data = nullptr;
  int64_t bytes = 0;
  const char* name = "";
  MemoryCategory category = MemoryCategory::kWorkspace;
  int num_owners = 0;
};

// A counted reference to an allocation; the last one to go gives the memory back.
// Copy it on the rank's own thread only (the count is not atomic).
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer& other) : allocation_(other.allocation_) { retain(); }
  Buffer(Buffer&& other) noexcept : allocation_(other.allocation_) { other.allocation_ = nullptr; }
  Buffer& operator=(Buffer other) noexcept {
    std::swap(allocation_, other.allocation_);
    return *this;
  }
  ~Buffer() { release(); }

  explicit operator bool() const { return allocation_ != nullptr; }
  std::byte* data() const { return allocation_->data; }
  int64_t bytes() const { return allocation_->bytes; }
  const char* name() const { return allocation_->name; }

 private:
  friend class Arena;
  explicit Buffer(Allocation* allocation) : allocation_(allocation) { retain(); }
  void retain() {
    if (allocation_) ++allocation_->num_owners;
  }
  void release();

  Allocation* allocation_ = nullptr;
};

class Arena {
 public:
  static constexpr int64_t kAlignment = 64;
  static constexpr int64_t kUnlimited = int64_t{1} << 56;  // of a record device only

  // Reserves `capacity` bytes of address space; pages cost nothing until touched. A record device
  // reserves nothing: its buffers lie where any access is a fault.
  Arena(Device device, int64_t capacity);
  // Over a range of a CPU's memory, which begins at a multiple of kAlignment.
  explicit Arena(AddressRange range);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  Device device() const { return device_; }

  // Uninitialised memory, aligned to kAlignment. `name` must outlive the buffer (a literal).
  // A usage error naming the largest category when the capacity is exceeded.
  Buffer allocate(int64_t bytes, MemoryCategory category, const char* name);

  const MemoryReport& report() const { return report_; }

 private:
  friend class Buffer;
  Arena(Device device, AddressRange range);
  bool mapped() const { return device_.kind != DeviceKind::kRecord; }
  void free(Allocation* allocation);
  int64_t take_block(int64_t bytes);
  void give_block(int64_t offset, int64_t bytes);
  void add_free(int64_t offset, int64_t bytes);
  void remove_free(int64_t offset, int64_t bytes);
  Allocation* new_allocation();

  Device device_;
  AddressRange range_;
  // Free blocks, never adjacent, the last one open-ended: their bytes by offset, and (bytes,
  // offset). The nodes stay in a pool, so that a steady state takes none from the system.
  std::pmr::unsynchronized_pool_resource nodes_;
  std::pmr::map<int64_t, int64_t> free_by_offset_{&nodes_};
  std::pmr::set<std::pair<int64_t, int64_t>> free_by_size_{&nodes_};
  std::vector<std::unique_ptr<Allocation>> pool_;
  std::vector<Allocation*> unused_;
  MemoryReport report_;
};

}  // namespace nemo
