#include "lib/comm/shared/process_host.h"

#include <algorithm>

#include "lib/comm/shared/host_identity.h"
#include "lib/comm/shared/shared_communicator.h"

namespace nemo {

using namespace shared;

namespace {

// Of address space: for the groups' rings as in ThreadWorld, and for all ranks' memory, so that a
// host with much of both keeps within the 128 TB that a process can map.
constexpr int64_t kControlBytes = int64_t{8} << 30;
constexpr int64_t kMemoryBytes = int64_t{64} << 40;

int index_of(const std::vector<int>& ranks, int rank) {
  return static_cast<int>(std::ranges::find(ranks, rank) - ranks.begin());
}

std::vector<int> ranks_with(const std::vector<std::string>& values, const std::string& value) {
  std::vector<int> ranks;
  for (size_t i = 0; i < values.size(); ++i)
    if (values[i] == value) ranks.push_back(static_cast<int>(i));
  return ranks;
}

// Twice the memory: for an arena and for staging.
std::shared_ptr<Segment> make_segment(int num_ranks, int64_t memory_bytes) {
  auto segment = Segment::make_shareable(kControlBytes + 2 * num_ranks * memory_bytes);
  segment->allocate(sizeof(WorldState));
  WorldState& world = *segment->at<WorldState>(Segment::kFirst);
  world.group = SharedCommunicator::allocate(*segment, num_ranks);
  world.memory_bytes = memory_bytes;
  return segment;
}

// The lowest rank makes the segment; null where this rank cannot open it.
std::shared_ptr<Segment> share_segment(Rendezvous& rendezvous, int rank,
                                       const std::vector<int>& ranks, int64_t memory_bytes) {
  const std::string key = fmt::format("shared/segment/{}", ranks[0]);
  if (rank != ranks[0]) return Segment::open(rendezvous.get(key));
  auto segment = make_segment(static_cast<int>(ranks.size()), memory_bytes);
  rendezvous.set(key, segment->address());
  return segment;
}

}  // namespace

ProcessHost::ProcessHost(Rendezvous& rendezvous, int rank, int size, const Options& options)
    : rank_(rank) {
  const std::string alone = fmt::format("rank {}", rank);
  auto ranks_like_this = [&](const char* key, const std::string& value) {
    return ranks_with(gather(rendezvous, rank, size, key, value), value);
  };
  ranks_ = ranks_like_this("shared/host", options.share_memory ? host_identity() : alone);
  const int num_ranks = static_cast<int>(ranks_.size());
  if (num_ranks > kMaxRanks)
    throw_usage("[trainer.devices] {} ranks on one host, at most {} are possible", num_ranks,
                kMaxRanks);
  const int64_t memory_bytes = std::min(options.memory_bytes, kMemoryBytes / 2 / num_ranks);
  std::shared_ptr<Segment> segment = share_segment(rendezvous, rank, ranks_, memory_bytes);
  const int process = segment ? index_of(ranks_, rank) : 0;
  const std::string maker = fmt::format("made by rank {}", ranks_[0]);
  ranks_ = ranks_like_this("shared/reached", segment ? maker : alone);
  if (!segment) segment = make_segment(1, memory_bytes);
  segment->close_address();
  domain_ = std::make_shared<Domain>(std::move(segment), Scope::kProcesses, process,
                                     options.timeout, ranks_);
  domain_->staging = std::make_unique<Arena>(domain_->reserve_memory(memory_bytes));
}

std::unique_ptr<Communicator> ProcessHost::communicator(const std::string& name) {
  return open_group(domain_->world.group, name, ranks_, index_of(ranks_, rank_));
}

int64_t ProcessHost::allocate_group(int size) {
  return SharedCommunicator::allocate(*domain_->segment, size);
}

std::unique_ptr<Communicator> ProcessHost::open_group(int64_t group, const std::string& name,
                                                      std::vector<int> world_ranks, int rank) {
  return std::make_unique<SharedCommunicator>(domain_, group, name, std::move(world_ranks), rank);
}

AddressRange ProcessHost::reserve_memory(int64_t bytes) {
  return domain_->reserve_memory(bytes);
}

bool ProcessHost::waits() const {
  return domain_->waits(rank_);
}

void ProcessHost::set_waits_elsewhere(bool waits_elsewhere) {
  domain_->set_waits_elsewhere(rank_, waits_elsewhere);
}

void ProcessHost::poison(const std::string& reason) noexcept {
  domain_->poison.set(reason);
}

const MemoryReport& ProcessHost::staging() const {
  return domain_->staging->report();
}

}  // namespace nemo
