// A dataset of Megatron's: PREFIX.idx says where each sequence of tokens lies in PREFIX.bin.
//   .idx   0  9 bytes MMIDIDX\0\0
//          9  u64 version, 1
//         17  u8  token type: 1 uint8, 2 int8, 3 int16, 4 int32, 5 int64, 8 uint16
//         18  u64 S, sequences
//         26  u64 D, documents + 1
//         34  i32[S] lengths in tokens, i64[S] byte offsets in .bin, i64[D] document index
//   .bin  the sequences one after the other, nothing else
// For language models a sequence is a document; the document index groups sequences where it is
// not.
#pragma once

#include <cstring>
#include <string>

#include "lib/core/mapped_file.h"
#include "lib/data/token_array.h"

namespace nemo {

class MegatronFile {
 public:
  // path: the prefix, or one of the two files. Reads all of the index and nothing of the tokens,
  // about 20 bytes a sequence. Throws UserError kData, naming the file, what was expected and what
  // was found, unless every length, offset and document lies as above; so no later access can leave
  // the files.
  explicit MegatronFile(const std::string& path);

  const std::string& prefix() const { return prefix_; }
  int64_t num_sequences() const { return num_sequences_; }
  int64_t num_documents() const { return num_documents_; }
  const TokenArray& tokens() const { return tokens_; }

  // Tokens of a sequence.
  int32_t length(int64_t sequence) const { return load<int32_t>(lengths_, sequence); }
  void prefetch_length(int64_t sequence) const { __builtin_prefetch(lengths_ + 4 * sequence); }
  // Its place among all tokens.
  Range range(int64_t sequence) const {
    const int64_t begin = load<int64_t>(offsets_, sequence) / size_of(tokens_.type());
    return {begin, begin + length(sequence)};
  }
  // The sequences of a document.
  Range document(int64_t index) const {
    return {load<int64_t>(documents_, index), load<int64_t>(documents_, index + 1)};
  }

  // The two files of a dataset.
  static std::string index_path(const std::string& prefix) { return prefix + ".idx"; }
  static std::string token_path(const std::string& prefix) { return prefix + ".bin"; }
  // Whether the bytes begin as an index does.
  static bool is_index(std::span<const uint8_t> bytes);

 private:
  // The arrays of the index have any alignment.
  template <typename T>
  static T load(const uint8_t* array, int64_t index) {
    T value;
    std::memcpy(&value, array + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
    return value;
  }

  TokenType read_header();
  // Returns the bytes that the sequences take in .bin.
  int64_t check_sequences(int64_t token_bytes) const;
  void check_documents() const;

  std::string prefix_;
  MappedFile index_;
  MappedFile token_file_;
  const uint8_t* lengths_ = nullptr;
  const uint8_t* offsets_ = nullptr;
  const uint8_t* documents_ = nullptr;
  int64_t num_sequences_ = 0;
  int64_t num_documents_ = 0;
  TokenArray tokens_;
};

}  // namespace nemo
