// nemo-cpp data: what a dataset holds, and whether all of it is sound.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>
#include <optional>

#include "apps/nemo-cpp/command_line.h"
#include "apps/nemo-cpp/commands.h"
#include "apps/nemo-cpp/progress.h"
#include "lib/core/error.h"
#include "lib/data/inspect.h"

namespace nemo {
namespace {

struct DataOptions {
  std::vector<std::string> paths;
  std::string kind;
  std::optional<int64_t> vocab_size;

  std::optional<DataKind> data_kind() const {
    for (const DataKind known : {DataKind::kText, DataKind::kMegatron, DataKind::kLlmc})
      if (kind == to_string(known)) return known;
    return std::nullopt;
  }
};

void add_path_options(CLI::App& command, DataOptions& options) {
  command.add_option("paths", options.paths, "Megatron prefixes, llm.c shards or text files")
      ->type_name("PATH");
  command
      .add_option("--kind", options.kind,
                  "What they are: text, megatron, llmc; else told by names and first bytes")
      ->type_name("KIND")
      ->check(one_of({"text", "megatron", "llmc"}));
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

int inspect(const DataOptions& options) {
  return for_each_path(options, "reading", [&](const std::string& path, const auto& progress) {
    return inspect_data(path, options.data_kind(), progress);
  });
}

int verify(const DataOptions& options) {
  return for_each_path(options, "verifying", [&](const std::string& path, const auto& progress) {
    return verify_data(path, options.data_kind(), options.vocab_size, progress) + "\n";
  });
}

}  // namespace

void add_data(CLI::App& app, Command& chosen) {
  CLI::App* data = app.add_subcommand("data", "Look into data, and check it");
  data->require_subcommand(1);
  const auto options = std::make_shared<DataOptions>();
  CLI::App* inspect_command = data->add_subcommand(
      "inspect", "What it is: kind, counts, token type, ids, first documents, as YAML");
  add_path_options(*inspect_command, *options);
  inspect_command->callback(
      [options, &chosen] { chosen = [options] { return inspect(*options); }; });
  CLI::App* verify_command = data->add_subcommand(
      "verify", "Check every size, offset, document and token; exit 3 where one is wrong");
  add_path_options(*verify_command, *options);
  verify_command
      ->add_option("--vocab-size", options->vocab_size, "Ids must be below it; else below 2^31")
      ->type_name("TOKENS")
      ->check(whole_number(1, int64_t{1} << 31, "tokens"));
  verify_command->callback([options, &chosen] { chosen = [options] { return verify(*options); }; });
}

}  // namespace nemo
