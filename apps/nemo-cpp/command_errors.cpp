#include "apps/nemo-cpp/command_errors.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "lib/recipe/nearest.h"

namespace nemo {
namespace {

using Names = std::vector<std::string>;

std::string nearest_name(const std::string& word, const Names& names) {
  const std::vector<std::string_view> views(names.begin(), names.end());
  return std::string(nearest_word(word, views));
}

Names commands_of(const CLI::App& command) {
  Names names;
  for (const CLI::App* next : command.get_subcommands({})) names.push_back(next->get_name());
  return names;
}

// Of the command and those it stands under, without dashes.
Names options_of(const CLI::App* command) {
  Names names;
  for (; command; command = command->get_parent())
    for (const CLI::Option* option : command->get_options())
      for (const std::string& name : option->get_lnames()) names.push_back(name);
  return names;
}

std::string would_do(const CLI::App& command) {
  return fmt::format("{} would do", fmt::join(commands_of(command), ", "));
}

std::string unknown_command(const CLI::App& command, const std::string& word) {
  const std::string nearest = nearest_name(word, commands_of(command));
  return fmt::format(
      "{}: no such command{}; {}", word, command.get_parent() ? " of " + command.get_name() : "",
      nearest.empty() ? would_do(command) : fmt::format("did you mean {}?", nearest));
}

// "--world" of "--world=3"
std::string option_of(const std::string& word) {
  return word.substr(0, word.find('='));
}

std::string name_of(const std::string& option) {
  return option.substr(std::min(option.find_first_not_of('-'), option.size()));
}

std::string unknown_option(const CLI::App& command, const std::string& option) {
  const std::string nearest = nearest_name(name_of(option), options_of(&command));
  return fmt::format("{}: no such option of {}; {}", option, command.get_name(),
                     nearest.empty() ? "--help lists those there are"
                                     : fmt::format("did you mean --{}?", nearest));
}

// What is wrong with the words up to the last command, if anything.
std::optional<std::string> wrong_command(const CLI::App& app, char** argv) {
  const CLI::App* command = &app;
  for (char** word = argv + 1; *word && !commands_of(*command).empty(); ++word) {
    if (**word == '-') {
      const std::string option = option_of(*word);
      const Names options = options_of(command);
      if (std::ranges::find(options, name_of(option)) == options.end())
        return unknown_option(*command, option);
      continue;
    }
    const auto found = command->get_subcommands(
        [word](const CLI::App* next) { return next->get_name() == *word; });
    if (found.empty()) return unknown_command(*command, *word);
    command = found.front();
  }
  if (command->get_require_subcommand_min() == 0) return {};
  const std::string of = command == &app ? "" : command->get_name() + ": ";
  return fmt::format("{}a command is missing; {}", of, would_do(*command));
}

std::string unexpected_word(const CLI::App& app, const std::string& word) {
  const CLI::App* command = &app;
  while (!command->get_subcommands().empty()) command = command->get_subcommands().front();
  if (word.starts_with('-')) return unknown_option(*command, option_of(word));
  return fmt::format("{}: {} takes no such word; leave it out", word, command->get_name());
}

}  // namespace

std::string explain(const CLI::App& app, const CLI::Error& error, char** argv) {
  if (const auto wrong = wrong_command(app, argv)) return *wrong;
  if (const Names words = app.remaining(/*recurse=*/true); !words.empty()) {
    const auto option =
        std::ranges::find_if(words, [](const std::string& word) { return word.starts_with('-'); });
    return unexpected_word(app, option == words.end() ? words.front() : *option);
  }
  const std::string message = error.what();
  if (error.get_name() == "ValidationError") return message;
  const std::string option = message.substr(0, message.find(": "));
  if (error.get_name() == "ArgumentMismatch") {
    if (message.find("At Most") != std::string::npos)
      return option + ": given more than once; keep one";
    if (message.ends_with("missing")) return option + ": its value is missing; give one behind it";
  }
  return message.substr(0, message.find('\n')) + " (--help shows what there is)";
}

}  // namespace nemo
