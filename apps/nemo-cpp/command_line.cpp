#include "apps/nemo-cpp/command_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <sstream>

#include "apps/nemo-cpp/command_errors.h"
#include "lib/core/error.h"
#include "lib/recipe/value.h"

namespace nemo {
namespace {

using Command = std::function<int()>;

// The values an option takes.
CLI::Validator one_of(const std::vector<std::string>& words) {
  return {[words](const std::string& word) -> std::string {
            if (std::ranges::find(words, word) != words.end()) return {};
            return fmt::format("'{}' is not a choice; {} would do", word, fmt::join(words, ", "));
          },
          fmt::format("{{{}}}", fmt::join(words, ","))};
}

CLI::Validator whole_number(int64_t min, int64_t max, const std::string& unit) {
  return {[=](const std::string& word) -> std::string {
            const bool digits = word.find_first_not_of("0123456789") == std::string::npos;
            const std::optional<int64_t> number = parse_integer(word);
            if (digits && number && min <= *number && *number <= max) return {};
            return fmt::format("'{}' is not a number of {}; {} to {} would do", word, unit, min,
                               max);
          },
          /*description=*/""};
}

void add_overrides(CLI::App& command, std::vector<std::string>& overrides) {
  command
      .add_option("overrides", overrides,
                  "dotted.key=value: sets a key of the recipe, the last of a key wins")
      ->type_name("key=value");
}

// Each leaves what is to run in `chosen` when its command is the one given.
void add_pretrain(CLI::App& app, const Environment& environment, Command& chosen) {
  const auto options = std::make_shared<PretrainOptions>();
  CLI::App* command = app.add_subcommand("pretrain", "Validate a recipe, build the mesh, train");
  command->add_option(
      "--recipe,--factory", options->recipe,
      "A recipe's path, or the name of one: in this folder, in NEMO_CPP_RECIPES, shipped");
  command->add_flag("--dry-run", options->dry_run,
                    "Judge the recipe without a device or a file: print it resolved, its mesh, "
                    "groups, parameters and memory");
  command
      ->add_option("--world", options->world,
                   "With --dry-run: the number of ranks, instead of devices * nodes")
      ->check(whole_number(1, int64_t{1} << 32, "ranks"));
  command
      ->add_option("--launch", options->launch,
                   "How one command runs its local ranks; threads unless told otherwise")
      ->check(one_of({"threads", "processes"}));
  add_overrides(*command, options->overrides);
  command->footer(
      "`nemo-cpp recipes show NAME` lists every key with its value, source, unit and help.");
  command->callback([options, &environment, &chosen] {
    chosen = [=, &environment] { return pretrain(*options, environment); };
  });
}

void add_recipes(CLI::App& app, const Environment& environment, Command& chosen) {
  CLI::App* recipes = app.add_subcommand("recipes", "The shipped recipes");
  recipes->require_subcommand(0, 1);
  recipes->add_subcommand("list", "Size and layout of each (the default)");
  CLI::App* show =
      recipes->add_subcommand("show", "One, resolved, with where each value came from");
  const auto options = std::make_shared<ShowOptions>();
  show->add_option("name", options->name, "A recipe's path or name")->type_name("NAME");
  add_overrides(*show, options->overrides);
  recipes->callback([=, &environment, &chosen] {
    chosen = [=, &environment] {
      return show->parsed() ? show_recipe(*options, environment) : list_recipes(environment);
    };
  });
}

void add_path_options(CLI::App& command, DataOptions& options) {
  command.add_option("paths", options.paths, "Megatron prefixes, llm.c shards or text files")
      ->type_name("PATH");
  command
      .add_option("--kind", options.kind,
                  "What they are: text, megatron, llmc; else told by names and first bytes")
      ->type_name("KIND")
      ->check(one_of({"text", "megatron", "llmc"}));
}

void add_data(CLI::App& app, Command& chosen) {
  CLI::App* data = app.add_subcommand("data", "Look into data, and check it");
  data->require_subcommand(1);
  const auto options = std::make_shared<DataOptions>();
  CLI::App* inspect_command = data->add_subcommand(
      "inspect", "What it is: kind, counts, token type, ids, first documents, as YAML");
  add_path_options(*inspect_command, *options);
  inspect_command->callback(
      [options, &chosen] { chosen = [options] { return data_inspect(*options); }; });
  CLI::App* verify_command = data->add_subcommand(
      "verify", "Check every size, offset, document and token; exit 3 where one is wrong");
  add_path_options(*verify_command, *options);
  verify_command
      ->add_option("--vocab-size", options->vocab_size, "Ids must be below it; else below 2^31")
      ->type_name("TOKENS")
      ->check(whole_number(1, int64_t{1} << 31, "tokens"));
  verify_command->callback(
      [options, &chosen] { chosen = [options] { return data_verify(*options); }; });
}

}  // namespace

CommandLine parse_command_line(int argc, const Environment& environment) {
  // Kept by the command that it runs: options and callbacks belong to it.
  const auto app = std::make_shared<CLI::App>(
      "Pretrains decoder transformers from one YAML recipe.", "nemo-cpp");
  CommandLine line;
  app->set_version_flag("--version", "nemo-cpp " NEMO_VERSION);
  app->require_subcommand(1);
  app->add_flag("--debug", line.debug, "Show a stack trace with an error");
  app->fallthrough();  // --debug may stand anywhere
  Command chosen;
  add_pretrain(*app, environment, chosen);
  add_recipes(*app, environment, chosen);
  add_data(*app, chosen);
  try {
    app->parse(argc, environment.argv);
  } catch (const CLI::Success& asked) {  // --help, --version
    std::ostringstream text;
    app->exit(asked, text, text);
    chosen = [text = text.str()] {
      print_document(text);
      return 0;
    };
  } catch (const CLI::Error& e) {
    throw_usage("{}", explain(*app, e, environment.argv));
  }
  line.run = [app, chosen] { return chosen(); };
  return line;
}

}  // namespace nemo
