// CRC-32C, the Castagnoli checksum of RFC 3720, section 12.1 and appendix B.4.
#pragma once

#include <cstdint>
#include <string_view>

namespace nemo {

uint32_t crc32c(std::string_view bytes);

}  // namespace nemo
