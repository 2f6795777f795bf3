#include "lib/train/proto_message.h"

#include <bit>

namespace nemo {
namespace {

enum WireType { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

}  // namespace

void ProtoMessage::add_varint(uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>(value | 0x80));
  bytes_.push_back(static_cast<char>(value));
}

void ProtoMessage::add_int64(int field, int64_t value) {
  add_varint(static_cast<uint64_t>(field << 3 | kVarint));
  add_varint(static_cast<uint64_t>(value));
}

void ProtoMessage::add_double(int field, double value) {
  add_varint(static_cast<uint64_t>(field << 3 | kFixed64));
  append_fixed(bytes_, std::bit_cast<uint64_t>(value));
}

void ProtoMessage::add_float(int field, float value) {
  add_varint(static_cast<uint64_t>(field << 3 | kFixed32));
  append_fixed(bytes_, std::bit_cast<uint32_t>(value));
}

void ProtoMessage::add_bytes(int field, std::string_view value) {
  add_varint(static_cast<uint64_t>(field << 3 | kLengthDelimited));
  add_varint(value.size());
  bytes_.append(value);
}

}  // namespace nemo
