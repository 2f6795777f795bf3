// Text as bytes: token ids 0–255, files in the given order, each ending in one end-of-document
// token where the vocabulary has it.
#pragma once

#include "lib/data/token_stream.h"

namespace nemo {

inline constexpr int32_t kEndOfDocument = 256;

// The bytes of a file. Throws UserError kData for one that is missing, unreadable, empty or not a
// file.
TokenFile open_text_file(const std::string& path);

class TextDataset : public TokenStream {
 public:
  // Reads what TokenStream reads, and tokenizer. Throws what open_text_file and TokenStream throw,
  // UserError kData for a file of token ids (an llm.c shard, one of Megatron's pair), and kUsage
  // for settings that no file could satisfy.
  TextDataset(const DataConfig& config, int64_t vocab_size, uint64_t seed,
              std::span<const Part> needed);
};

}  // namespace nemo
