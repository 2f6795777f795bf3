// The one failure state of a world: set once, seen by every wait of every group.
#pragma once

#include <array>
#include <atomic>
#include <mutex>
#include <string>

#include "lib/comm/communicator.h"
#include "lib/comm/operation.h"

namespace nemo::shared {

// Lies in a segment. A process writes its reason first and then enters itself, so that one that is
// killed half way through has not set anything.
struct PoisonState {
  static constexpr size_t kReasonBytes = 2048;
  std::atomic<int> first;                                        // 1 + the process; 0: not set
  std::array<std::array<char, kReasonBytes>, kMaxRanks> reason;  // of each process
};

// A process's end of it.
class Poison {
 public:
  Poison(PoisonState& state, int process) : state_(state), process_(process) {}

  // Sequentially consistent: see Ring::work.
  bool is_set() const { return state_.first.load() != 0; }
  // From any thread. The first reason stays; long ones are cut.
  void set(const std::string& reason);
  // CommError of the first reason.
  [[noreturn]] void raise() const;

 private:
  PoisonState& state_;
  int process_;
  std::mutex mutex_;  // of this process's reason
};

}  // namespace nemo::shared
