#include "lib/data/token_array.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "lib/core/error.h"

namespace nemo {
namespace {

template <typename T>
T load(const uint8_t* data, int64_t index) {
  T value;
  std::memcpy(&value, data + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// Calls body with a zero of the type's C++ equivalent.
template <typename Body>
auto with_type(TokenType type, const Body& body) {
  switch (type) {
    case TokenType::kU8:
      return body(uint8_t{});
    case TokenType::kI8:
      return body(int8_t{});
    case TokenType::kI16:
      return body(int16_t{});
    case TokenType::kU16:
      return body(uint16_t{});
    case TokenType::kI32:
      return body(int32_t{});
    case TokenType::kU32:
      return body(uint32_t{});
    case TokenType::kI64:
      break;
  }
  return body(int64_t{});
}

}  // namespace

int64_t size_of(TokenType type) {
  return with_type(type, [](auto zero) { return static_cast<int64_t>(sizeof(zero)); });
}

std::string_view to_string(TokenType type) {
  switch (type) {
    case TokenType::kU8:
      return "uint8";
    case TokenType::kI8:
      return "int8";
    case TokenType::kI16:
      return "int16";
    case TokenType::kU16:
      return "uint16";
    case TokenType::kI32:
      return "int32";
    case TokenType::kU32:
      return "uint32";
    case TokenType::kI64:
      return "int64";
  }
  return "";
}

TokenArray::TokenArray(std::string path, TokenType type, std::span<const uint8_t> bytes)
    : path_(std::move(path)),
      type_(type),
      data_(bytes.data()),
      size_(div_exact(std::ssize(bytes), size_of(type))) {}

void TokenArray::read(int64_t first, int64_t vocab_size, std::span<int32_t> out) const {
  NEMO_CHECK(first >= 0 && std::ssize(out) <= size_ - first, "[token_array] tokens {} + {} of {}",
             first, out.size(), size_);
  const bool sound = with_type(type_, [&]<typename T>(T) {
    bool outside = false;
    for (int64_t i = 0; i < std::ssize(out); ++i) {
      const T id = load<T>(data_, first + i);
      outside |= static_cast<uint64_t>(id) >= static_cast<uint64_t>(vocab_size);
      out[static_cast<size_t>(i)] = static_cast<int32_t>(id);
    }
    return !outside;
  });
  if (!sound) refuse(first, vocab_size);
}

void TokenArray::check(Range range, int64_t vocab_size) const {
  if (range.size() == 0) return;
  const Extent found = extent(range);
  if (found.min < 0 || found.max >= vocab_size) refuse(range.begin, vocab_size);
}

void TokenArray::check_start(int64_t vocab_size) const {
  check({0, std::min(size_, int64_t{1} << 18)}, vocab_size);
}

TokenArray::Extent TokenArray::extent(Range range) const {
  NEMO_CHECK(range.begin >= 0 && range.begin < range.end && range.end <= size_,
             "[token_array] tokens {} to {} of {}", range.begin, range.end, size_);
  return with_type(type_, [&]<typename T>(T) {
    T min = load<T>(data_, range.begin);
    T max = min;
    for (int64_t i = range.begin; i < range.end; ++i) {
      const T id = load<T>(data_, i);
      min = std::min(min, id);
      max = std::max(max, id);
    }
    return Extent{static_cast<int64_t>(min), static_cast<int64_t>(max)};
  });
}

void TokenArray::refuse(int64_t first, int64_t vocab_size) const {
  int64_t place = first;
  Extent at_place = extent({place, place + 1});
  while (at_place.min >= 0 && at_place.min < vocab_size) {
    ++place;
    at_place = extent({place, place + 1});
  }
  throw_data(
      "[data.paths] {}: token {} is {}, a vocabulary of {} has ids 0 to {}; give the "
      "model.vocab_size of the tokenizer that made it",
      path_, place, at_place.min, vocab_size, vocab_size - 1);
}

}  // namespace nemo
