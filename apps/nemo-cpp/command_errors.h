// What is wrong with a command line, in our words rather than CLI11's.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace nemo {

// One line for the error that parsing argv threw.
std::string explain(const CLI::App& app, const CLI::Error& error, char** argv);

}  // namespace nemo
