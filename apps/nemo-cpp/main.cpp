// The command line, the environment and the exit code: read and written here and nowhere else.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <sstream>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "apps/nemo-cpp/command_line.h"
#include "apps/nemo-cpp/stack_trace.h"
#include "lib/core/error.h"
#include "lib/device/host.h"

namespace nemo {
namespace {

bool stdout_was_closed = false;

// Where a standard stream is closed, a file of the run would take its place and receive what is
// printed.
void open_standard_streams() {
  stdout_was_closed = fcntl(STDOUT_FILENO, F_GETFD) < 0;
  for (int fd = 0; fd <= STDERR_FILENO; ++fd)
    if (fcntl(fd, F_GETFD) < 0) open("/dev/null", O_RDWR);
}

Variables read_variables() {
  Variables variables;
  for (char** setting = environ; *setting; ++setting) {
    const std::string_view text = *setting;
    const size_t name_end = text.find('=');
    if (name_end != std::string_view::npos)
      variables.emplace(text.substr(0, name_end), text.substr(name_end + 1));
  }
  return variables;
}

Environment read_environment() {
  Environment environment;
  std::error_code error;
  environment.current_folder = std::filesystem::current_path(error).string();
  if (error)
    throw_usage("the current folder cannot be used: {}; change to one that exists",
                error.message());
  environment.variables = read_variables();
  const auto folders = environment.variables.find("NEMO_CPP_RECIPES");
  if (folders != environment.variables.end()) environment.recipe_folders = folders->second;
  environment.num_cores = num_available_cores();
  return environment;
}

// Prints the exception being handled; its exit code.
ExitCode report_error() {
  try {
    throw;
  } catch (const std::exception& e) {
    const ErrorReport report = report_of(e);
    print_errors(report.message);
    return report.exit_code;
  }
}

// With --debug nothing is caught, so the stack is still that of the throw.
[[noreturn]] void report_with_stack() {
  const ExitCode code = report_error();
  for (const std::string& frame : stack_trace()) fmt::print(stderr, "  {}\n", frame);
  _exit(static_cast<int>(code));
}

int run(int argc, char** argv) {
  Environment environment;
  CommandLine line;
  try {
    environment = read_environment();
    environment.argv = argv;
    line = parse_command_line(argc, environment);
  } catch (const UserError&) {
    return static_cast<int>(report_error());
  }
  if (line.debug) {
    std::set_terminate(report_with_stack);
    return line.run();
  }
  try {
    return line.run();
  } catch (...) {
    return static_cast<int>(report_error());
  }
}

}  // namespace

bool stdout_is_closed() {
  return stdout_was_closed;
}

void print_errors(const std::string& message) {
  std::istringstream lines(message);
  for (std::string line; std::getline(lines, line);)
    std::fputs(("error: " + line + "\n").c_str(), stderr);
}

}  // namespace nemo

int main(int argc, char** argv) {
  nemo::open_standard_streams();
  return nemo::run(argc, argv);
}
