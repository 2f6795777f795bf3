// The stack of this thread, for a person.
#pragma once

#include <string>
#include <vector>

namespace nemo {

// One line a frame, the innermost first: "nemo::find_recipe(…) nemo-cpp+0x1c2f0", the place being
// what addr2line takes. Where the program is stripped, names of functions in libraries only.
std::vector<std::string> stack_trace();

}  // namespace nemo
