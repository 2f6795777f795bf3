// A world whose ranks are processes, on one host or several: groups of ranks of one host share its
// memory, others talk by messages.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "lib/comm/gloo/gloo_world.h"
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

  // Rank `rank` of a world of `size`, after Store::join; collective. The world must not end before
  // all ranks have left the store. A usage error where this machine has no address for the others.
  ProcessWorld(Store& store, int rank, int size, const Options& options);

  // This rank's end of the group of all; once. It may outlive this object, but not the store.
  // Collective.
  std::unique_ptr<Communicator> communicator();

  // As Communicator::poison, from any thread.
  void poison(const std::string& reason) noexcept;

 private:
  std::shared_ptr<ProcessHost> host_;
  std::optional<GlooWorld> gloo_;  // where there are several hosts
};

}  // namespace nemo
