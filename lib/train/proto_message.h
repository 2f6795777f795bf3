// A protobuf message in its wire format (protobuf.dev/programming-guides/encoding).
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace nemo {

// The number's bytes, the lowest first.
template <std::unsigned_integral Number>
void append_fixed(std::string& out, Number number) {
  for (size_t i = 0; i < sizeof number; ++i) out.push_back(static_cast<char>(number >> (8 * i)));
}

class ProtoMessage {
 public:
  // Keeps the memory.
  void clear() { bytes_.clear(); }
  std::string_view bytes() const { return bytes_; }

  void add_int64(int field, int64_t value);
  void add_double(int field, double value);
  void add_float(int field, float value);
  // A string, or a message inside this one.
  void add_bytes(int field, std::string_view value);

 private:
  void add_varint(uint64_t value);

  std::string bytes_;
};

}  // namespace nemo
