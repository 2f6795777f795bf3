#include "lib/device/arena.h"

#include <algorithm>
#include <iterator>
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
  add_free(0, range_.bytes / kAlignment * kAlignment);
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
  give_block(allocation->data - range_.begin, allocation->bytes);
  unused_.push_back(allocation);
}

// The smallest block that fits, lowest address first, so that the high-water mark stays low.
int64_t Arena::take_block(int64_t bytes) {
  const auto best = free_by_size_.lower_bound({bytes, 0});
  if (best == free_by_size_.end()) return -1;
  const auto [size, offset] = *best;
  remove_free(offset, size);
  if (size > bytes) add_free(offset + bytes, size - bytes);
  return offset;
}

void Arena::give_block(int64_t offset, int64_t bytes) {
  const auto next = free_by_offset_.lower_bound(offset);
  if (next != free_by_offset_.begin()) {
    const auto [previous, size] = *std::prev(next);
    if (previous + size == offset) {
      remove_free(previous, size);
      offset = previous;
      bytes += size;
    }
  }
  if (next != free_by_offset_.end() && offset + bytes == next->first) {
    const int64_t size = next->second;
    remove_free(next->first, size);
    bytes += size;
  }
  add_free(offset, bytes);
}

void Arena::add_free(int64_t offset, int64_t bytes) {
  free_by_offset_.emplace(offset, bytes);
  free_by_size_.emplace(bytes, offset);
}

void Arena::remove_free(int64_t offset, int64_t bytes) {
  free_by_offset_.erase(offset);
  free_by_size_.erase({bytes, offset});
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
