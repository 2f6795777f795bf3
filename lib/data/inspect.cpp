#include "lib/data/inspect.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <limits>

#include "lib/core/counted.h"
#include "lib/core/error.h"
#include "lib/core/mapped_file.h"
#include "lib/data/llmc.h"
#include "lib/data/megatron_file.h"
#include "lib/data/text.h"
#include "lib/recipe/print.h"

namespace nemo {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kInspectedTokens = int64_t{1} << 27;
constexpr int64_t kChunk = int64_t{1} << 24;
constexpr int64_t kShownDocuments = 3;
constexpr int64_t kShownTokens = 16;

// One dataset, whichever of the two it is.
struct Opened {
  DataKind kind;
  std::optional<MegatronFile> megatron = {};
  std::optional<TokenFile> file = {};

  const TokenArray& tokens() const { return megatron ? megatron->tokens() : file->tokens; }
  std::vector<std::string> files() const {
    if (!megatron) return {file->tokens.path()};
    return {MegatronFile::index_path(megatron->prefix()),
            MegatronFile::token_path(megatron->prefix())};
  }
};

Opened open_data(const std::string& path, std::optional<DataKind> kind) {
  Opened opened{kind ? *kind : detect_data_kind(path)};
  if (opened.kind == DataKind::kMegatron)
    opened.megatron.emplace(path);
  else
    opened.file.emplace(opened.kind == DataKind::kLlmc ? open_llmc_shard(path)
                                                       : open_text_file(path));
  return opened;
}

// Calls visit(range) for one chunk after the other of the first `count` tokens.
template <typename Visit>
void scan(int64_t count, const ScanProgress& progress, const Visit& visit) {
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    const int64_t end = std::min(begin + kChunk, count);
    visit(Range{begin, end});
    progress(end, count);
  }
}

TokenArray::Extent extent_of(const TokenArray& tokens, int64_t count,
                             const ScanProgress& progress) {
  TokenArray::Extent all = {std::numeric_limits<int64_t>::max(),
                            std::numeric_limits<int64_t>::min()};
  scan(count, progress, [&](Range range) {
    const TokenArray::Extent found = tokens.extent(range);
    all = {std::min(all.min, found.min), std::max(all.max, found.max)};
  });
  return all;
}

std::string first_tokens(const TokenArray& tokens, Range range) {
  std::vector<std::string> shown;
  const int64_t end = std::min(range.end, range.begin + kShownTokens);
  for (int64_t i = range.begin; i < end; ++i)
    shown.push_back(fmt::format("{}", tokens.extent({i, i + 1}).min));
  if (end < range.end) shown.push_back("\"...\"");
  return fmt::format("[{}]", fmt::join(shown, ", "));
}

// The tokens of a document, whose sequences lie one behind the other.
Range tokens_of(const MegatronFile& file, int64_t document) {
  const Range sequences = file.document(document);
  if (sequences.size() == 0) return {0, 0};
  return {file.range(sequences.begin).begin, file.range(sequences.end - 1).end};
}

std::string describe_documents(const MegatronFile& file) {
  std::string out = fmt::format("  num_sequences: {}\n  num_documents: {}\n", file.num_sequences(),
                                file.num_documents());
  if (file.num_sequences() == 0) return out;
  int32_t shortest = file.length(0), longest = 0;
  for (int64_t i = 0; i < file.num_sequences(); ++i) {
    shortest = std::min(shortest, file.length(i));
    longest = std::max(longest, file.length(i));
  }
  const double mean =
      static_cast<double>(file.tokens().size()) / static_cast<double>(file.num_sequences());
  out += fmt::format("  sequence_length: {{min: {}, mean: {:.1f}, max: {}}}\n", shortest, mean,
                     longest);
  out += "  first_documents:\n";
  for (int64_t i = 0; i < std::min(file.num_documents(), kShownDocuments); ++i) {
    const Range tokens = tokens_of(file, i);
    out += fmt::format("    - {{num_tokens: {}, tokens: {}}}\n", tokens.size(),
                       first_tokens(file.tokens(), tokens));
  }
  return out;
}

}  // namespace

DataKind detect_data_kind(const std::string& path) {
  const auto is_file = [](const std::string& name) {
    std::error_code error;
    return fs::exists(name, error);
  };
  const bool is_bin = path.ends_with(".bin");
  if (is_file(MegatronFile::index_path(path)) || path.ends_with(".idx") ||
      (is_bin && is_file(MegatronFile::index_path(path.substr(0, path.size() - 4)))))
    return DataKind::kMegatron;
  if (!is_file(path))
    throw_data("[data.paths] {}: there is no such file, and no {}; give a file or a prefix", path,
               MegatronFile::index_path(path));
  constexpr size_t kStart = 16;
  const MappedFile file(path, "data.paths");
  const auto bytes = file.bytes().first(std::min(file.bytes().size(), kStart));
  if (is_bin || is_llmc_shard(bytes)) return DataKind::kLlmc;
  return MegatronFile::is_index(bytes) ? DataKind::kMegatron : DataKind::kText;
}

std::string inspect_data(const std::string& path, std::optional<DataKind> kind,
                         const ScanProgress& progress) {
  const Opened data = open_data(path, kind);
  const TokenArray& tokens = data.tokens();
  std::string out =
      fmt::format("{}:\n  kind: {}\n  files:\n", quote_yaml(path), to_string(data.kind));
  for (const std::string& file : data.files())
    out += fmt::format("    - {{path: {}, bytes: {}}}\n", quote_yaml(file), fs::file_size(file));
  out +=
      fmt::format("  token_type: {}\n  num_tokens: {}\n", to_string(tokens.type()), tokens.size());
  if (const int64_t count = std::min(tokens.size(), kInspectedTokens); count > 0) {
    const TokenArray::Extent ids = extent_of(tokens, count, progress);
    out +=
        fmt::format("  token_ids: {{min: {}, max: {}, of_first: {}}}\n", ids.min, ids.max, count);
  }
  if (data.megatron) return out + describe_documents(*data.megatron);
  return out + fmt::format("  first_tokens: {}\n", first_tokens(tokens, {0, tokens.size()}));
}

std::string verify_data(const std::string& path, std::optional<DataKind> kind,
                        std::optional<int64_t> vocab_size, const ScanProgress& progress) {
  const Opened data = open_data(path, kind);
  const TokenArray& tokens = data.tokens();
  constexpr int64_t kIds = int64_t{1} << 31;
  scan(tokens.size(), progress,
       [&](Range range) { tokens.check(range, vocab_size.value_or(kIds)); });
  const std::string documents =
      data.megatron ? counted(data.megatron->num_documents(), "document") + ", " : "";
  return fmt::format("{}: {}, {}{}{}: sound", path, to_string(data.kind), documents,
                     counted(tokens.size(), fmt::format("{} token", to_string(tokens.type()))),
                     vocab_size ? fmt::format(", ids below {}", *vocab_size) : "");
}

}  // namespace nemo
