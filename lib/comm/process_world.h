// A world whose ranks are processes.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "lib/comm/shared/process_host.h"
#include "lib/comm/store/store.h"

namespace nemo {

class ProcessWorld {
 public:
  struct Options {
    // A wait of any group ends with a CommError after it.
    std::chrono::nanoseconds timeout;
    // Otherwise every rank is a host of its own.
    bool share_memory = true;
  };

  // Rank `rank` of a world of `size`, after Store::join; collective. A usage error where the ranks
  // do not all share memory.
  ProcessWorld(Store& store, int rank, int size, const Options& options);

  // This rank's end of the group of all; once. It may outlive this object.
  std::unique_ptr<Communicator> communicator();

  // As Communicator::poison, from any thread.
  void poison(const std::string& reason) noexcept;

 private:
  ProcessHost host_;
};

}  // namespace nemo
