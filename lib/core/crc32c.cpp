#include "lib/core/crc32c.h"

#include <array>

namespace nemo {
namespace {

// The remainder of each byte, bits reflected.
constexpr std::array<uint32_t, 256> kRemainders = [] {
  std::array<uint32_t, 256> remainders{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t r = byte;
    for (int bit = 0; bit < 8; ++bit) r = (r >> 1) ^ (r & 1 ? 0x82f63b78u : 0u);
    remainders[byte] = r;
  }
  return remainders;
}();

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t r = ~0u;
  for (const char c : bytes) r = (r >> 8) ^ kRemainders[(r ^ static_cast<uint8_t>(c)) & 0xff];
  return ~r;
}

}  // namespace nemo
