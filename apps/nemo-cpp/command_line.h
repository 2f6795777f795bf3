// What is wrong with a command line, in our words rather than CLI11's.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace nemo {

// The values an option takes.
CLI::Validator one_of(const std::vector<std::string>& words);
CLI::Validator whole_number(int64_t min, int64_t max, const std::string& unit);

// One line for the error that parsing argv threw.
std::string explain(const CLI::App& app, const CLI::Error& error, char** argv);

}  // namespace nemo
