// The one failure state of a world: set once, seen by every wait of every group.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "lib/comm/communicator.h"
#include "lib/comm/shared/event.h"

namespace nemo::shared {

class Poison {
 public:
  // Sequentially consistent: see Ring::work.
  bool is_set() const { return set_.load(); }
  // The first reason stays.
  void set(const std::string& reason);
  // CommError of the first reason.
  [[noreturn]] void raise() const;

  // Events to notify when the poison is set.
  void add(Event* event);
  void remove(Event* event);

 private:
  std::atomic<bool> set_{false};
  std::mutex mutex_;
  std::string reason_;  // written once, before set_
  std::vector<Event*> events_;
};

}  // namespace nemo::shared
