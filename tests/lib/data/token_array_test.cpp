#include "lib/data/token_array.h"

#include <doctest/doctest.h>

#include <vector>

#include "lib/core/error.h"
#include "tests/support/token_files.h"

using namespace nemo;
using namespace nemo::test;

namespace {

constexpr int64_t kVocab = 1000;

// Keeps the bytes behind an array of any alignment.
template <typename T>
struct Held {
  Held(TokenType type_, const std::vector<T>& values) : type(type_) {
    bytes = "?" + bytes_of(values);
  }
  TokenArray array() const {
    return {"x.bin", type,
            std::span(reinterpret_cast<const uint8_t*>(bytes.data()) + 1, bytes.size() - 1)};
  }
  TokenType type;
  std::string bytes;
};

template <typename T>
void check_type(TokenType type, std::string_view name, T highest) {
  CAPTURE(name);
  CHECK(to_string(type) == name);
  CHECK(size_of(type) == static_cast<int64_t>(sizeof(T)));
  const Held<T> held(type, {0, 7, 9, 100, highest});
  const TokenArray tokens = held.array();
  CHECK(tokens.size() == 5);
  CHECK(tokens.extent({0, 5}).min == 0);
  CHECK(tokens.extent({0, 5}).max == static_cast<int64_t>(highest));
  CHECK(tokens.extent({1, 3}).min == 7);
  std::vector<int32_t> out(3, -7);
  tokens.read(1, kVocab, out);
  CHECK(out == std::vector<int32_t>{7, 9, 100});
  tokens.check({0, 4}, kVocab);
  tokens.check({2, 2}, 1);
}

}  // namespace

TEST_CASE("every type is read as what it is") {
  check_type<uint8_t>(TokenType::kU8, "uint8", 255);
  check_type<int8_t>(TokenType::kI8, "int8", 127);
  check_type<int16_t>(TokenType::kI16, "int16", 32767);
  check_type<uint16_t>(TokenType::kU16, "uint16", 65535);
  check_type<int32_t>(TokenType::kI32, "int32", 2147483647);
  check_type<uint32_t>(TokenType::kU32, "uint32", 4294967295u);
  check_type<int64_t>(TokenType::kI64, "int64", INT64_MAX);
}

TEST_CASE("an id outside the vocabulary is named, whatever its type, before it is used") {
  const auto refusal = [](const TokenArray& tokens, int64_t vocab_size) -> std::string {
    std::vector<int32_t> out(static_cast<size_t>(tokens.size()) - 1);
    std::string by_reading, by_checking = "nothing was thrown";
    try {
      tokens.read(1, vocab_size, out);
    } catch (const UserError& e) {
      CHECK(e.code() == ExitCode::kData);
      by_reading = e.what();
    }
    try {
      tokens.check({1, tokens.size()}, vocab_size);
    } catch (const UserError& e) {
      by_checking = e.what();
    }
    CHECK(by_reading == by_checking);
    return by_reading;
  };
  const auto message = [](int place, const std::string& id) {
    return "[data.paths] x.bin: token " + std::to_string(place) + " is " + id +
           ", a vocabulary of 1000 has ids 0 to 999; give the model.vocab_size of the tokenizer "
           "that made it";
  };
  CHECK(refusal(Held<uint16_t>(TokenType::kU16, {9999, 999, 1000, 5}).array(), kVocab) ==
        message(2, "1000"));
  CHECK(refusal(Held<int8_t>(TokenType::kI8, {-1, 5, 6, -1}).array(), kVocab) == message(3, "-1"));
  CHECK(refusal(Held<int32_t>(TokenType::kI32, {0, -2147483647 - 1}).array(), kVocab) ==
        message(1, "-2147483648"));
  // Cut to 32 bits these would be 5.
  CHECK(refusal(Held<uint32_t>(TokenType::kU32, {0, 1, 4294967295u}).array(), kVocab) ==
        message(2, "4294967295"));
  CHECK(refusal(Held<int64_t>(TokenType::kI64, {0, (int64_t{1} << 32) + 5}).array(), kVocab) ==
        message(1, "4294967301"));
}

TEST_CASE("no range reaches outside the array") {
  const Held<uint16_t> held(TokenType::kU16, {1, 2, 3});
  const TokenArray tokens = held.array();
  std::vector<int32_t> out(2);
  CHECK_THROWS_AS(tokens.read(2, kVocab, out), InvariantError);
  CHECK_THROWS_AS(tokens.read(-1, kVocab, out), InvariantError);
  CHECK_THROWS_AS(tokens.extent({1, 4}), InvariantError);
  CHECK_THROWS_AS(tokens.extent({1, 1}), InvariantError);
}
