// What the processes of a job tell each other about its ranks.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lib/core/error.h"

namespace nemo {

struct Member {
  int rank;
  std::string host;
  int64_t pid;
};

// "rank 2 (pid 4711, host node3)"
std::string to_string(const Member& member);

// "rank 1", "ranks 1, 3"
std::string name_ranks(std::span<const int> ranks);

// What a job ends with; the same in every process of it.
struct Failure {
  std::string reason;  // whole, as the user reads it
  ExitCode exit_code;
};

// What a report of a failure is worth. A better one takes the place of a lesser one that is not
// older than ControlPlane::kGrace.
enum class Evidence {
  kEcho,   // communication failed, as a rule because a peer did
  kLost,   // a rank is gone and nobody says why
  kCause,  // somebody knows why
};

// A rank that waited for an operation until its time was up.
struct Hang {
  std::string operation;     // `[all_reduce "grads"] group dp, sequence 1`
  int64_t group = 0;         // the same number for it on all members
  std::vector<int> members;  // world ranks
  int64_t sequence = 0;
  double timeout_s = 0;
  bool is_last = false;  // who it waits for was left to others before, and they did not say
};

// How far a rank is in a group.
struct Progress {
  int64_t last_called = -1;  // sequence number of the last operation it has called; -1 = none
  bool waits = false;        // for others, in whatever group
};

}  // namespace nemo
