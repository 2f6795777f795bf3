// A world whose ranks talk by messages over TCP, wherever they are.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "lib/comm/communicator.h"
#include "lib/comm/store/store.h"

namespace nemo {

class ProcessHost;

namespace gloo {
class Network;
}  // namespace gloo

class GlooWorld {
 public:
  struct Options {
    // A wait of any group ends with a CommError after it.
    std::chrono::nanoseconds timeout;
    // This rank's host, where there is one: groups of its ranks alone share its memory, where
    // arenas lie too.
    std::shared_ptr<ProcessHost> host = nullptr;
  };

  // One rank of a world of `size`, after Store::join; collective. Answers Store::on_how_far. The
  // store must outlive the communicators. The world and they must not both end before all ranks
  // have left the store: what this rank sent last may be on its way. A usage error where this
  // machine has no address for the others.
  GlooWorld(Store& store, int rank, int size, const Options& options);

  // This rank's end of the group of all; once. It may outlive this object. Collective.
  std::unique_ptr<Communicator> communicator(const std::string& name);

  // Ends all waits of this rank, from any thread: with what Store::on_failure tells.
  void poison(const std::string& reason) noexcept;

 private:
  int size_;
  std::shared_ptr<gloo::Network> network_;
};

}  // namespace nemo
