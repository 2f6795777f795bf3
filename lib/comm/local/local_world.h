// A world whose ranks are threads of this process: they read and write each other's tensors in
// place.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "lib/comm/communicator.h"

namespace nemo {

namespace local {
class Group;
struct World;
}  // namespace local

class LocalWorld {
 public:
  // A wait of any group ends with a CommError after `timeout`.
  LocalWorld(int num_ranks, std::chrono::nanoseconds timeout);

  // The rank's end of the group "world"; once per rank, from any thread. May outlive this object.
  std::unique_ptr<Communicator> communicator(int rank);

  // As Communicator::poison, from any thread.
  void poison(const std::string& reason) noexcept;

 private:
  std::shared_ptr<local::World> world_;
  std::shared_ptr<local::Group> group_;
};

}  // namespace nemo
