// A world whose ranks are threads of this process: they read and write each other's tensors in
// place.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "lib/comm/communicator.h"

namespace nemo {

namespace shared {
struct Domain;
}  // namespace shared

class ThreadWorld {
 public:
  // A wait of any group ends with a CommError after `timeout`.
  ThreadWorld(int num_ranks, std::chrono::nanoseconds timeout);

  // The rank's end of the group "world"; once per rank, from any thread. May outlive this object.
  std::unique_ptr<Communicator> communicator(int rank);

  // As Communicator::poison, from any thread.
  void poison(const std::string& reason) noexcept;

 private:
  std::vector<int> ranks_;
  std::shared_ptr<shared::Domain> domain_;
};

}  // namespace nemo
