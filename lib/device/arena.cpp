#include "lib/device/arena.h"

#include <algorithm>
#include <utility>

#include "lib/core/error.h"
#include "lib/core/math.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(address, bytes) ((void)(address), (void)(bytes))
#endif

namespace nemo {

std::string_view to_string(MemoryCategory category) {
  constexpr std::string_view kNames[kNumMemoryCategories] = {
      "parameters", "gradients",     "optimizer", "activations",
      "packed",     "communication", "workspace", "data"};
  return kNames[static_cast<size_t>(category)];
}

void Buffer::release() {
  if (allocation_ && --allocation_->num_owners == 0) allocation_->arena->free(allocation_);
}

namespace {

// An address that no x86-64 or arm64 process can map, so that a kernel which touches a record
// device's memory faults at once.
constexpr uintptr_t kUnmappable = uintptr_t{1} << 56;

AddressRange range_for(Device device, int64_t capacity) {
  if (device.kind == DeviceKind::kRecord)
    return {reinterpret_cast<std::byte*>(kUnmappable), capacity, nullptr};
  return reserve_private(capacity);
}

}  // namespace

Arena::Arena(Device device, int64_t capacity)
    : Arena(device, range_for(device, round_up(capacity, kAlignment))) {}

Arena::Arena(AddressRange range) : Arena(Device{}, std::move(range)) {}

Arena::Arena(Device device, AddressRange range) : device_(device), range_(std::move(range)) {
  free_blocks_.reserve(1024);
  free_blocks_.push_back({0, range_.bytes / kAlignment * kAlignment});
}

Arena::~Arena() {
  if (mapped()) ASAN_UNPOISON_MEMORY_REGION(range_.begin, report_.high_water);
}

Buffer Arena::allocate(int64_t bytes, MemoryCategory category, const char* name) {
  NEMO_CHECK(bytes >= 0, "[arena] {} bytes asked for {}", bytes, name);
  const int64_t size = round_up(std::max<int64_t>(bytes, 1), kAlignment);
  const int64_t offset = take_block(size);
  if (offset < 0)
    throw_usage(
        "[arena] {} needs {} bytes and {} of {} are in use; use more ranks, a smaller "
        "data.micro_batch_size, or another layout",
        name, size, report_.live_total, range_.bytes);
  Allocation* allocation = new_allocation();
  *allocation = {this, range_.begin + offset, size, name, category, 0};
  if (mapped()) {
    ASAN_UNPOISON_MEMORY_REGION(allocation->data, bytes);
    ASAN_POISON_MEMORY_REGION(allocation->data + bytes, size - bytes);
  }

  const size_t c = static_cast<size_t>(category);
  report_.live[c] += size;
  report_.peak[c] = std::max(report_.peak[c], report_.live[c]);
  report_.live_total += size;
  report_.peak_total = std::max(report_.peak_total, report_.live_total);
  report_.high_water = std::max(report_.high_water, offset + size);
  return Buffer(allocation);
}

void Arena::free(Allocation* allocation) {
  if (mapped()) ASAN_POISON_MEMORY_REGION(allocation->data, allocation->bytes);
  report_.live[static_cast<size_t>(allocation->category)] -= allocation->bytes;
  report_.live_total -= allocation->bytes;
  give_block({allocation->data - range_.begin, allocation->bytes});
  unused_.push_back(allocation);
}

// The smallest block that fits, lowest address first, so that the high-water mark stays low.
int64_t Arena::take_block(int64_t bytes) {
  auto best = free_blocks_.end();
  for (auto block = free_blocks_.begin(); block != free_blocks_.end(); ++block) {
    if (block->bytes < bytes || (best != free_blocks_.end() && block->bytes >= best->bytes))
      continue;
    best = block;
    if (best->bytes == bytes) break;
  }
  if (best == free_blocks_.end()) return -1;
  const int64_t offset = best->offset;
  best->offset += bytes;
  best->bytes -= bytes;
  if (best->bytes == 0) free_blocks_.erase(best);
  return offset;
}

void Arena::give_block(Block block) {
  auto next = std::lower_bound(
      free_blocks_.begin(), free_blocks_.end(), block.offset,
      [](const Block& free_block, int64_t offset) { return free_block.offset < offset; });
  const bool joins_next = next != free_blocks_.end() && block.offset + block.bytes == next->offset;
  if (joins_next) {
    next->offset = block.offset;
    next->bytes += block.bytes;
  } else {
    next = free_blocks_.insert(next, block);
  }
  if (next == free_blocks_.begin()) return;
  auto previous = next - 1;
  if (previous->offset + previous->bytes != next->offset) return;
  previous->bytes += next->bytes;
  free_blocks_.erase(next);
}

Allocation* Arena::new_allocation() {
  if (unused_.empty()) {
    pool_.push_back(std::make_unique<Allocation>());
    unused_.reserve(pool_.size());
    return pool_.back().get();
  }
  Allocation* allocation = unused_.back();
  unused_.pop_back();
  return allocation;
}

}  // namespace nemo
