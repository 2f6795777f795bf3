#include "lib/comm/shared/group.h"

namespace nemo::shared {

Group::Group(std::shared_ptr<World> world, std::string name, std::vector<int> world_ranks)
    : world_(std::move(world)),
      name_(std::move(name)),
      collectives_(world_->domain, name_, std::move(world_ranks)),
      channels_(static_cast<size_t>(size() * size())) {}

Ring& Group::channel(int from, int to) {
  const std::lock_guard lock(mutex_);
  std::unique_ptr<Ring>& channel = channels_[static_cast<size_t>(from * size() + to)];
  if (!channel)
    channel = std::make_unique<Ring>(world_->domain, name_,
                                     std::vector{world_rank(from), world_rank(to)});
  return *channel;
}

std::shared_ptr<Group> Group::meet(int64_t sequence, int color, const std::vector<int>& members,
                                   const std::string& name) {
  const std::lock_guard lock(world_->mutex);
  World::Meeting& meeting = world_->meetings[{this, sequence, color}];
  if (!meeting.group) {
    std::vector<int> world_ranks;
    for (int member : members) world_ranks.push_back(world_rank(member));
    meeting = {std::make_shared<Group>(world_, name, std::move(world_ranks)),
               static_cast<int>(members.size())};
  }
  std::shared_ptr<Group> group = meeting.group;
  if (--meeting.num_missing == 0) world_->meetings.erase({this, sequence, color});
  return group;
}

}  // namespace nemo::shared
