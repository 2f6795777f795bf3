// Memory that all ranks of a host reach, each process at an address of its own. It starts as zeros,
// which is the initial state of everything that lies in it; what refers to it from inside is an
// offset from its start, never an address.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace nemo::shared {

class Segment {
 public:
  // Where the first block lies.
  static constexpr int64_t kFirst = 64;

  // For the threads of this process. Address space: pages cost nothing until touched.
  static std::shared_ptr<Segment> make_private(int64_t bytes);

  ~Segment();
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  // The offset of a new block of zeros, at a multiple of `alignment`; from any thread of any rank.
  // Blocks stay as long as the segment. A usage error when it is full.
  int64_t allocate(int64_t bytes, int64_t alignment = kCacheLine);

  template <typename T>
  T* at(int64_t offset) const {
    return reinterpret_cast<T*>(base_ + offset);
  }

 private:
  static constexpr int64_t kCacheLine = 64;
  struct Header;

  Segment(std::byte* base, int64_t bytes) : base_(base), bytes_(bytes) {}

  std::byte* base_;
  int64_t bytes_;
};

}  // namespace nemo::shared
