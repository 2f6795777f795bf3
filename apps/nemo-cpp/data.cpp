// nemo-cpp data: what a dataset holds, and whether all of it is sound.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>

#include "apps/nemo-cpp/commands.h"
#include "apps/nemo-cpp/progress.h"
#include "lib/core/error.h"
#include "lib/data/inspect.h"

namespace nemo {
namespace {

std::optional<DataKind> kind_of(const DataOptions& options) {
  for (const DataKind known : {DataKind::kText, DataKind::kMegatron, DataKind::kLlmc})
    if (options.kind == to_string(known)) return known;
  return std::nullopt;
}

// The path came from the command line, not from the recipe's key that reading it names.
std::string without_key(const std::string& problem) {
  constexpr std::string_view kKey = "[data.paths] ";
  return problem.starts_with(kKey) ? problem.substr(kKey.size()) : problem;
}

// Runs work(path, progress) for each path; what is wrong with one is reported after all were tried.
template <typename Work>
int for_each_path(const DataOptions& options, const char* doing, const Work& work) {
  if (options.paths.empty())
    throw_usage("PATH: missing; Megatron prefixes, llm.c shards or text files would do");
  std::vector<std::string> problems;
  for (const std::string& path : options.paths) {
    try {
      Progress progress(fmt::format("{} {}", doing, path));
      print_document(
          work(path, [&](int64_t done, int64_t total) { progress.update(done, total); }));
    } catch (const UserError& e) {
      if (e.code() != ExitCode::kData) throw;
      problems.push_back(without_key(e.what()));
    }
  }
  if (!problems.empty()) throw_data("{}", fmt::join(problems, "\n"));
  return 0;
}

}  // namespace

int data_inspect(const DataOptions& options) {
  return for_each_path(options, "reading", [&](const std::string& path, const auto& progress) {
    return inspect_data(path, kind_of(options), progress);
  });
}

int data_verify(const DataOptions& options) {
  return for_each_path(options, "verifying", [&](const std::string& path, const auto& progress) {
    return verify_data(path, kind_of(options), options.vocab_size, progress) + "\n";
  });
}

}  // namespace nemo
