// Shards of llm.c and of nanogpt programs: 1024 bytes of header, 256 int32, then tokens. The first
// four integers tell the variants apart:
//   20240520, 1, count            uint16 tokens (GPT-2)
//   20240801, 7, count            uint32 tokens (Llama 3)
//   278895051, 1, count, width    tokens of `width` bytes, 2 or 4
// A file is 1024 + count * width bytes.
#pragma once

#include "lib/data/token_stream.h"

namespace nemo {

inline constexpr int64_t kLlmcHeaderBytes = 1024;

// Whether the bytes begin as a shard does, whole or damaged further on.
bool is_llmc_shard(std::span<const uint8_t> bytes);

// Throws UserError kData, naming the file, what was expected and what was found, unless it is a
// whole shard.
TokenFile open_llmc_shard(const std::string& path);

// Shards in the given order, as TokenStream cuts and shuffles them.
class LlmcDataset : public TokenStream {
 public:
  LlmcDataset(const DataConfig& config, int64_t vocab_size, uint64_t seed,
              std::span<const Part> needed);
};

}  // namespace nemo
