#include "lib/data/text.h"

#include <filesystem>

#include "lib/core/error.h"
#include "lib/data/llmc.h"
#include "lib/data/megatron_file.h"

namespace nemo {
namespace {

// Token ids read as bytes would train on nonsense without a word.
void refuse_token_ids(const std::string& path, std::span<const uint8_t> bytes) {
  if (is_llmc_shard(bytes))
    throw_data("[data.paths] {}: is an llm.c shard, not text; data.kind=llmc would do", path);
  namespace fs = std::filesystem;
  const std::string prefix = fs::path(path).replace_extension().string();
  std::error_code error;
  if (MegatronFile::is_index(bytes) ||
      (path.ends_with(".bin") && fs::exists(MegatronFile::index_path(prefix), error)))
    throw_data(
        "[data.paths] {}: is one of Megatron's pair {}.idx and .bin, not text; data.kind=megatron "
        "with data.paths={} would do",
        path, prefix, prefix);
}

std::vector<TokenFile> open_files(const DataConfig& config, int64_t vocab_size) {
  if (config.paths.empty())
    throw_usage(
        "[data.paths] 0 files, data.kind text needs at least 1; list the files to train on");
  if (config.tokenizer != "bytes")
    throw_usage("[data.tokenizer] {} cannot be read by this version; give bytes", config.tokenizer);
  std::vector<TokenFile> files;
  for (const std::string& path : config.paths) {
    files.push_back(open_text_file(path));
    refuse_token_ids(path, files.back().file.bytes());
    if (vocab_size > kEndOfDocument) files.back().end_token = kEndOfDocument;
  }
  return files;
}

}  // namespace

TokenFile open_text_file(const std::string& path) {
  MappedFile file(path, "data.paths");
  if (file.size() == 0)
    throw_data("[data.paths] {}: it is empty, 0 bytes of at least 1; leave it out", path);
  TokenArray tokens(path, TokenType::kU8, file.bytes());
  return {std::move(file), std::move(tokens)};
}

TextDataset::TextDataset(const DataConfig& config, int64_t vocab_size, uint64_t seed,
                         std::span<const Part> needed)
    : TokenStream(config, vocab_size, seed, open_files(config, vocab_size), needed) {}

}  // namespace nemo
