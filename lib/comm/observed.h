// A communicator whose calls somebody watches: for predictions, traces and tests. Each call
// allocates.
#pragma once

#include <memory>

#include "lib/comm/communicator.h"
#include "lib/core/clock.h"

namespace nemo {

class CommObserver {
 public:
  struct Call {
    const Communicator* group;
    const char* operation;  // all_reduce, send, …
    const char* label;
    int64_t bytes;  // the least that this rank must send (traffic.h)
    Clock::time_point begin;
  };

  virtual ~CommObserver() = default;
  virtual void called(const Call& call) = 0;
  // Its wait began then and has just returned.
  virtual void waited(const Call& call, Clock::time_point wait_begin) = 0;
};

// The communicator, and those of all groups made from it, watched. Both must outlive it.
std::unique_ptr<Communicator> observed(Communicator& communicator, CommObserver& observer);

}  // namespace nemo
