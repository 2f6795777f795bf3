// Bytes of a safetensors file, and errors that a test expects.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "lib/core/error.h"
#include "tests/support/files.h"

namespace nemo::test {

// A safetensors file of this header and these data bytes.
inline std::string safetensors_bytes(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(bytes.data(), &length, sizeof(length));
  return bytes + header + data;
}

// "" when `call` does not throw; else "exit <code>: <message>".
template <typename Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const UserError& e) {
    return "exit " + std::to_string(static_cast<int>(e.code())) + ": " + e.what();
  }
  return "";
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace nemo::test
