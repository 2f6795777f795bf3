// What a rank sends, by group and kind of operation: what --dry-run prints as communication.
//
// Bytes are the least that a rank of n must send, whatever the backend does: what a ring sends,
// rounded down to whole bytes for each operation.
//   all_reduce                        2 (n - 1) / n of the buffer
//   all_gather, reduce_scatter        (n - 1) / n of the larger of input and output
//   all_to_all                        (n - 1) / n of the input
//   all_to_all_v                      all but the rank's own part of the input
//   broadcast                         (n - 1) / n of the buffer
//   send                              the buffer
//   barrier                           none
// A receive is its sender's. A group of one rank has no traffic.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "lib/comm/observed.h"

namespace nemo {

struct OpTraffic {
  int64_t count = 0;
  int64_t bytes = 0;
  bool operator==(const OpTraffic&) const = default;
};

class Traffic final : public CommObserver {
 public:
  struct Group {
    int num_ranks = 0;
    std::map<std::string, OpTraffic> operations;  // all_reduce, send, …
    bool operator==(const Group&) const = default;
  };

  void called(const Call& call) override;
  void waited(const Call&, Clock::time_point) override {}
  // Adds what came between two readings of one rank, so many times.
  void add(const Traffic& before, const Traffic& after, int64_t times);

  // By the communicator's name.
  const std::map<std::string, Group>& groups() const { return groups_; }
  int64_t bytes() const;
  bool operator==(const Traffic& other) const { return groups_ == other.groups_; }

 private:
  std::map<std::string, Group> groups_;
};

// The communicator, and those of all groups made from it, with every call added to `traffic`. Both
// must outlive it. For predictions and tests: each call allocates.
std::unique_ptr<Communicator> counted(Communicator& communicator, Traffic& traffic);

}  // namespace nemo
