// What goes over a connection of the store: frames of [u32 size of the rest][u8 kind][u32
// id][body], little-endian. A request's id is answered by a reply of the same id; pushes have id 0.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace nemo::store {

// What a client says first, so that no other program is taken for one.
inline constexpr std::string_view kMagic = "nemo-cpp store 1";

enum class MessageKind : uint8_t {
  // Client to server; the last two have no reply.
  kHello = 1,  // magic → who hosts the store
  kSet,        // key, value → nothing
  kGet,        // key → value, once it is set
  kAdd,        // key, number → sum
  kJoin,       // rank, host, pid → the members, once all have joined
  kLeave,      // nothing → kAllLeft, once all have left
  kEnded,      // rank, reason, exit code → whether it has left
  kHang,  // operation, group, members, sequence, timeout, whether for the last time → nothing,
          // where others must say whom they wait for; kFailure else
  kFail,  // evidence, reason, exit code
  kProgress,  // inquiry, sequence, whether it waits
  // Server to client.
  kReply = 64,  // of the request's id
  kAllLeft,     // reply to kLeave: the job is done
  kRefusal,     // reason: the request of this id cannot be served
  kFailure,     // push: reason, exit code; the job is over
  kHowFar,      // push: inquiry, group; to be answered by kProgress
};

struct Message {
  MessageKind kind{};
  uint32_t id = 0;
  std::string body;
};

// What arrived is not of this protocol.
class ProtocolError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

class BodyWriter {
 public:
  BodyWriter& number(int64_t value);
  BodyWriter& text(std::string_view value);
  const std::string& body() const { return body_; }

 private:
  std::string body_;
};

// Reads what BodyWriter wrote; ProtocolError where it is shorter.
class BodyReader {
 public:
  explicit BodyReader(std::string_view body) : left_(body) {}
  int64_t number();
  std::string text();

 private:
  std::string_view take(size_t num_bytes);
  std::string_view left_;
};

std::string encode(const Message& message);

// Bytes as they arrive to messages.
class MessageBuffer {
 public:
  static constexpr size_t kMostBytes = 16 << 20;  // of one message

  void append(const char* bytes, size_t num_bytes) { bytes_.append(bytes, num_bytes); }
  // The next whole message. ProtocolError where one is said to be longer than kMostBytes.
  std::optional<Message> next();

 private:
  std::string bytes_;
};

}  // namespace nemo::store
