// What a legal recipe asks for that this version cannot run yet.
#pragma once

#include <string>
#include <vector>

#include "lib/recipe/resolve.h"

namespace nemo {

// Ranks of one host, threads or processes, can be no more than this.
inline constexpr int64_t kMaxHostRanks = 256;

// One line for each, "<key>: <value> cannot run yet; <what runs> would do (<where it was given>)";
// empty means it runs. Of values that follow from each other, only what was given has a line.
// A key that no code reads yet is here, unless the sizes leave it nothing to do (pp_schedule with
// one pipeline stage, cp_comm_type with one context rank, checkpoint.keep where none is saved).
std::vector<std::string> not_runnable(const ResolvedRecipe& resolved);

}  // namespace nemo
