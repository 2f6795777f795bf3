// The shared side of a group of rank threads, and the place where new groups are met.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "lib/comm/shared/ring.h"

namespace nemo::shared {

class Group;

// All groups split from one ThreadWorld.
struct World {
  World(std::chrono::nanoseconds timeout, bool may_spin) : domain{timeout, may_spin, {}} {}

  Domain domain;

  // Members of a new group meet here: the first makes it, the last takes it off the table.
  struct Meeting {
    std::shared_ptr<Group> group;
    int num_missing;
  };
  using MeetingKey = std::tuple<const Group*, int64_t, int>;  // parent, sequence of split, color
  std::mutex mutex;
  std::map<MeetingKey, Meeting> meetings;
};

class Group {
 public:
  Group(std::shared_ptr<World> world, std::string name, std::vector<int> world_ranks);

  const std::string& name() const { return name_; }
  int size() const { return static_cast<int>(collectives_.world_ranks().size()); }
  Domain& domain() { return world_->domain; }

  Ring& collectives() { return collectives_; }
  // What rank `from` sends to rank `to`; made at first use.
  Ring& channel(int from, int to);

  // The group that this group's ranks `members` form at their split number `sequence`.
  std::shared_ptr<Group> meet(int64_t sequence, int color, const std::vector<int>& members,
                              const std::string& name);

 private:
  int world_rank(int rank) const { return collectives_.world_ranks()[static_cast<size_t>(rank)]; }

  std::shared_ptr<World> world_;
  std::string name_;
  Ring collectives_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Ring>> channels_;  // [from][to]
};

}  // namespace nemo::shared
