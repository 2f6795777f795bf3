// Every spelling that sets a canonical key, and what it does to the value.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "lib/recipe/read.h"

namespace nemo {

// Turns entries as typed into entries of canonical keys (Entry::source keeps the spelling). One
// entry may give several (the name distributed_fused_adam_with_cosine_annealing sets three keys).
// `optim.betas` gives optim.betas.0 and .1, which adam_beta1 and adam_beta2 set too. Unknown keys
// become problems that name the nearest known key.
std::vector<Entry> canonical_entries(std::vector<Entry> typed, Problems& problems);

struct Spelling {
  std::string_view typed;
  std::string_view canonical;
};

// The whole table, canonical keys (as their own spelling) first.
std::vector<Spelling> all_spellings();

}  // namespace nemo
