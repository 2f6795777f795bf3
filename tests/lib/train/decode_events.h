// Reads what lib/train/event_file writes, and nothing else of protobuf.
#pragma once

#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/core/crc32c.h"

namespace nemo::test {

struct Event {
  double wall_time = 0;
  uint64_t step = 0;
  std::string version;
  bool start = false;
  std::map<std::string, float> figures;
};

template <typename Number>
Number take(std::string_view& bytes) {
  Number number;
  REQUIRE(bytes.size() >= sizeof number);
  std::memcpy(&number, bytes.data(), sizeof number);
  bytes.remove_prefix(sizeof number);
  return number;
}

inline std::string_view take_bytes(std::string_view& bytes, size_t size) {
  REQUIRE(bytes.size() >= size);
  const std::string_view taken = bytes.substr(0, size);
  bytes.remove_prefix(size);
  return taken;
}

inline uint64_t take_varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = take<uint8_t>(bytes);
    value |= uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return value;
  }
}

inline std::pair<std::string, float> decode_value(std::string_view bytes) {
  std::pair<std::string, float> value;
  while (!bytes.empty()) {
    const uint64_t key = take_varint(bytes);
    if (key == (1 << 3 | 2))
      value.first = take_bytes(bytes, take_varint(bytes));
    else if (key == (2 << 3 | 5))
      value.second = take<float>(bytes);
    else
      FAIL("Summary.Value has a key " << key);
  }
  return value;
}

inline Event decode_event(std::string_view bytes) {
  Event event;
  while (!bytes.empty()) {
    const uint64_t key = take_varint(bytes);
    if (key == (1 << 3 | 1))
      event.wall_time = take<double>(bytes);
    else if (key == (2 << 3 | 0))
      event.step = take_varint(bytes);
    else if (key == (3 << 3 | 2))
      event.version = take_bytes(bytes, take_varint(bytes));
    else if (key == (5 << 3 | 2)) {
      std::string_view summary = take_bytes(bytes, take_varint(bytes));
      while (!summary.empty()) {
        REQUIRE(take_varint(summary) == (1 << 3 | 2));
        const auto value = decode_value(take_bytes(summary, take_varint(summary)));
        CHECK(event.figures.insert(value).second);
      }
    } else if (key == (7 << 3 | 2)) {
      CHECK(take_bytes(bytes, take_varint(bytes)) == "\x08\x01");  // SessionLog{status: START}
      event.start = true;
    } else
      FAIL("Event has a key " << key);
  }
  return event;
}

// Every record of a file, checksums checked.
inline std::vector<Event> decode_events(std::string_view file) {
  const auto masked = [](std::string_view bytes) {
    const uint32_t crc = crc32c(bytes);
    return static_cast<uint32_t>((crc >> 15 | crc << 17) + 0xa282ead8u);
  };
  std::vector<Event> events;
  while (!file.empty()) {
    const std::string_view length = file.substr(0, 8);
    const auto size = take<uint64_t>(file);
    CHECK(take<uint32_t>(file) == masked(length));
    const std::string_view record = take_bytes(file, size);
    CHECK(take<uint32_t>(file) == masked(record));
    events.push_back(decode_event(record));
  }
  return events;
}

}  // namespace nemo::test
