// Memory that all ranks of a host reach, each process at an address of its own. It starts as zeros,
// which is the initial state of everything that lies in it; what refers to it from inside is an
// offset from its start, never an address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "lib/device/address_range.h"

namespace nemo::shared {

class Segment : public std::enable_shared_from_this<Segment> {
 public:
  // Where the first block lies.
  static constexpr int64_t kFirst = 64;

  // Address space: pages cost nothing until touched. A usage error where there is not enough.
  // For the threads of this process:
  static std::shared_ptr<Segment> make_private(int64_t bytes);
  // For the processes of this host:
  static std::shared_ptr<Segment> make_shareable(int64_t bytes);
  // The segment that another process made, by its address(); null where it cannot be reached.
  static std::shared_ptr<Segment> open(const std::string& address);

  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  // How other processes of this host open a shareable segment, until close_address is called.
  std::string address() const;
  void close_address();

  // The offset of a new block of zeros, at a multiple of `alignment`; from any thread of any rank.
  // Blocks stay as long as the segment. A usage error when it is full.
  int64_t allocate(int64_t bytes, int64_t alignment = kCacheLine);
  // A new block for an arena. Its pages are freed when nobody owns the range any more.
  AddressRange reserve(int64_t bytes);

  template <typename T>
  T* at(int64_t offset) const {
    return reinterpret_cast<T*>(base_ + offset);
  }
  bool contains(const void* begin, int64_t bytes) const;

 private:
  static constexpr int64_t kCacheLine = 64;
  struct Header;

  Segment(std::byte* base, int64_t bytes, int fd) : base_(base), bytes_(bytes), fd_(fd) {}

  std::byte* base_;
  int64_t bytes_;
  int fd_;  // -1 = closed, or none
};

}  // namespace nemo::shared
