// The ranks of one host where each rank is a process: they map one segment, and the tensors of the
// memory they reserve in it are touched in place.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "lib/comm/communicator.h"
#include "lib/comm/rendezvous.h"
#include "lib/device/host.h"

namespace nemo {

namespace shared {
struct Domain;
class Segment;
}  // namespace shared

class ProcessHost {
 public:
  struct Options {
    // A wait of any group ends with a CommError after it.
    std::chrono::nanoseconds timeout;
    // What each rank may reserve at a time, at most; address space.
    int64_t memory_bytes = host_memory_bytes();
    // Otherwise every rank is a host of its own.
    bool share_memory = true;
  };

  // One rank of a world of `size`, of which some may be on other hosts. Collective.
  ProcessHost(Rendezvous& rendezvous, int rank, int size, const Options& options);

  // The world ranks of this host, which share memory; ascending, at least this one.
  const std::vector<int>& ranks() const { return ranks_; }

  // This rank's end of the group of all of them; once. It may outlive this object.
  std::unique_ptr<Communicator> communicator(const std::string& name);

  // A group of some of them, for a split that spans hosts: one member allocates what the group
  // shares, all open it. `rank`: this one's place among `world_ranks`.
  int64_t allocate_group(int size);
  std::unique_ptr<Communicator> open_group(int64_t group, const std::string& name,
                                           std::vector<int> world_ranks, int rank);

  // As Communicator::reserve_memory.
  AddressRange reserve_memory(int64_t bytes);

  // Whether this rank waits for others, from any thread; those of the host whose time is up know by
  // it that it is not to blame. Waits of the host's own groups tell by themselves.
  bool waits() const;
  void set_waits_elsewhere(bool waits_elsewhere);

  // As Communicator::poison, from any thread.
  void poison(const std::string& reason) noexcept;

  // What the copies took of tensors that lie elsewhere.
  const MemoryReport& staging() const;

 private:
  int rank_;
  std::vector<int> ranks_;
  std::shared_ptr<shared::Domain> domain_;
};

}  // namespace nemo
