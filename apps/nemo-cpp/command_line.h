// The command line: which command with which options. What CLI11 is, no other file knows.
#pragma once

#include <functional>

#include "apps/nemo-cpp/commands.h"

namespace nemo {

struct CommandLine {
  bool debug = false;
  std::function<int()> run;  // the chosen command; returns the exit code
};

// A usage error where the words of environment.argv are no command. The environment must outlive
// the result.
CommandLine parse_command_line(int argc, const Environment& environment);

}  // namespace nemo
