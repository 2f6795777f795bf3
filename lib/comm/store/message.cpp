#include "lib/comm/store/message.h"

#include <bit>
#include <cstring>

namespace nemo::store {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr size_t kHeadBytes = sizeof(uint32_t);                     // how long the rest is
constexpr size_t kFixedBytes = sizeof(uint8_t) + sizeof(uint32_t);  // kind and id

template <typename T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <typename T>
T get(std::string_view bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

}  // namespace

BodyWriter& BodyWriter::number(int64_t value) {
  put(body_, value);
  return *this;
}

BodyWriter& BodyWriter::text(std::string_view value) {
  put(body_, static_cast<uint32_t>(value.size()));
  body_ += value;
  return *this;
}

int64_t BodyReader::number() {
  return get<int64_t>(take(sizeof(int64_t)));
}

std::string BodyReader::text() {
  const uint32_t size = get<uint32_t>(take(sizeof(uint32_t)));
  return std::string(take(size));
}

std::string_view BodyReader::take(size_t num_bytes) {
  if (left_.size() < num_bytes) throw ProtocolError("a message is cut short");
  const std::string_view taken = left_.substr(0, num_bytes);
  left_.remove_prefix(num_bytes);
  return taken;
}

std::string encode(const Message& message) {
  std::string frame;
  put(frame, static_cast<uint32_t>(kFixedBytes + message.body.size()));
  put(frame, static_cast<uint8_t>(message.kind));
  put(frame, message.id);
  return frame + message.body;
}

std::optional<Message> MessageBuffer::next() {
  if (bytes_.size() < kHeadBytes) return std::nullopt;
  const size_t size = get<uint32_t>(bytes_);
  if (size < kFixedBytes || size > kMostBytes) throw ProtocolError("not a message of the store");
  if (bytes_.size() < kHeadBytes + size) return std::nullopt;
  const std::string_view frame = std::string_view(bytes_).substr(kHeadBytes, size);
  Message message{static_cast<MessageKind>(frame[0]), get<uint32_t>(frame.substr(1)),
                  std::string(frame.substr(kFixedBytes))};
  bytes_.erase(0, kHeadBytes + size);
  return message;
}

}  // namespace nemo::store
