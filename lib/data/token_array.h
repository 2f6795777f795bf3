// Token ids as a file holds them: little-endian integers of one type, mapped, of any alignment.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "lib/core/math.h"

namespace nemo {

enum class TokenType : uint8_t { kU8, kI8, kI16, kU16, kI32, kU32, kI64 };

int64_t size_of(TokenType type);             // in bytes
std::string_view to_string(TokenType type);  // "uint8", …

class TokenArray {
 public:
  TokenArray() = default;
  // The ids that `bytes` hold, a whole number of them; `path` names them in messages. The bytes
  // belong to the caller.
  TokenArray(std::string path, TokenType type, std::span<const uint8_t> bytes);

  const std::string& path() const { return path_; }
  TokenType type() const { return type_; }
  int64_t size() const { return size_; }

  // Copies tokens first … first + out.size() - 1. Throws UserError kData, naming the file and the
  // place, where one is not in 0 … vocab_size - 1, so that none reaches a model.
  void read(int64_t first, int64_t vocab_size, std::span<int32_t> out) const;

  // The same check of a range, without the copy.
  void check(Range range, int64_t vocab_size) const;

  // The same of the first 2^18: what a wrong tokenizer or vocabulary shows at once and for little.
  void check_start(int64_t vocab_size) const;

  // The smallest and the largest id of a range that is not empty.
  struct Extent {
    int64_t min;
    int64_t max;
  };
  Extent extent(Range range) const;

 private:
  [[noreturn]] void refuse(int64_t first, int64_t vocab_size) const;

  std::string path_;
  TokenType type_ = TokenType::kU8;
  const uint8_t* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace nemo
