#include "lib/comm/traffic.h"

#include <string_view>

namespace nemo {

void Traffic::called(const Call& call) {
  if (call.group->size() == 1 || call.operation == std::string_view("receive")) return;
  Group& entry = groups_[call.group->name()];
  entry.num_ranks = call.group->size();
  OpTraffic& traffic = entry.operations[call.operation];
  ++traffic.count;
  traffic.bytes += call.bytes;
}

void Traffic::add(const Traffic& before, const Traffic& after, int64_t times) {
  for (const auto& [name, group] : after.groups_)
    for (const auto& [operation, total] : group.operations) {
      OpTraffic start;
      if (const auto found = before.groups_.find(name); found != before.groups_.end())
        if (const auto op = found->second.operations.find(operation);
            op != found->second.operations.end())
          start = op->second;
      Group& entry = groups_[name];
      entry.num_ranks = group.num_ranks;
      OpTraffic& traffic = entry.operations[operation];
      traffic.count += times * (total.count - start.count);
      traffic.bytes += times * (total.bytes - start.bytes);
    }
}

int64_t Traffic::bytes() const {
  int64_t sum = 0;
  for (const auto& [name, group] : groups_)
    for (const auto& [operation, traffic] : group.operations) sum += traffic.bytes;
  return sum;
}

std::unique_ptr<Communicator> counted(Communicator& communicator, Traffic& traffic) {
  return observed(communicator, traffic);
}

}  // namespace nemo
