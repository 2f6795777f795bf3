// Who of a job's ranks has joined, left and failed, and what the job ends with. Knows no sockets
// and no clock: the server tells it what happened and when.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "lib/comm/store/job.h"
#include "lib/core/clock.h"

namespace nemo::store {

class ControlPlane {
 public:
  // How long a report waits for a better one.
  static constexpr std::chrono::milliseconds kGrace{300};

  // All ranks must join within `timeout` of `now`, and leave within it of the first that leaves.
  ControlPlane(int world_size, std::chrono::nanoseconds timeout, Clock::time_point now);

  // A usage error where the job has no place for this rank.
  void join(const Member& member, int world_size);
  // After the last step. A rank that has left cannot fail any more.
  void leave(int rank, Clock::time_point now);
  bool all_joined() const { return num_joined_ == world_size(); }
  bool has_left(int rank) const { return ranks_[static_cast<size_t>(rank)].left; }
  bool all_left() const { return num_left_ == world_size(); }
  // In order of rank; when all have joined.
  std::vector<Member> members() const;

  // A failure: of the job, or as a rank knows it of itself.
  void report(const Failure& failure, Evidence evidence, Clock::time_point now);
  void report(int rank, const Failure& failure, Evidence evidence, Clock::time_point now);
  // The connection of a rank ended. Nothing, where it left or said why before.
  void lost(int rank, const std::string& how, Clock::time_point now);
  // A rank's process ended, as its launcher knows. Nothing, where it left or said why before.
  void ended(int rank, const Failure& failure, Clock::time_point now);

  // The job's failure, once there is one: the same from then on.
  const std::optional<Failure>& verdict(Clock::time_point now);
  // When verdict may change by itself.
  std::optional<Clock::time_point> next_deadline() const;

 private:
  struct Rank {
    std::optional<Member> member;
    bool left = false;
    bool said_why = false;
  };
  struct Report {
    Failure failure;
    Evidence evidence;
    Clock::time_point due;
  };

  int world_size() const { return static_cast<int>(ranks_.size()); }
  Rank& rank(int rank) { return ranks_[static_cast<size_t>(rank)]; }
  std::string name(int rank);
  // "rank 1 did not join within 0.5 s; …", of the ranks for which `is_missing`.
  template <typename Predicate>
  Failure too_late(const char* what, Predicate is_missing) const;

  std::chrono::nanoseconds timeout_;
  Clock::time_point join_deadline_;
  std::optional<Clock::time_point> leave_deadline_;
  std::vector<Rank> ranks_;
  int num_joined_ = 0;
  int num_left_ = 0;
  std::optional<Report> best_;
  std::optional<Failure> verdict_;
};

}  // namespace nemo::store
