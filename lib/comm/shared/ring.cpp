#include "lib/comm/shared/ring.h"

#include <thread>

namespace nemo::shared {
namespace {

// An operation this small is done by the last rank to post it: cheaper than waking anybody.
constexpr int64_t kInlineBytes = 32 << 10;
// A wait keeps its core this long, where each rank has one; it then offers it to whoever can run
// (the peer it waits for may be queued behind it), and sleeps at last.
constexpr std::chrono::microseconds kSpin{2};
constexpr std::chrono::microseconds kPatience{20};

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

Ring::Ring(Domain& domain, std::string name, std::vector<int> world_ranks)
    : domain_(domain),
      name_(std::move(name)),
      world_ranks_(std::move(world_ranks)),
      slots_(kNumSlots),
      postings_(kNumSlots * world_ranks_.size()),
      lanes_(kNumSlots * world_ranks_.size()) {
  domain_.poison.add(&event_);
}

Ring::~Ring() {
  domain_.poison.remove(&event_);
}

Posting& Ring::prepare(int member, int64_t sequence) {
  if (domain_.poison.is_set()) domain_.poison.raise();
  if (sequence >= kNumSlots) wait(member, sequence - kNumSlots);
  return postings(sequence)[static_cast<size_t>(member)];
}

void Ring::post(int member, int64_t sequence) {
  lanes(sequence)[static_cast<size_t>(member)].arrived.store(sequence);
  if (slot(sequence).num_arrived.fetch_add(1) + 1 == size()) begin(member, sequence);
}

// Every posting is in place, and no thread works in this slot: they all have left its last
// operation.
void Ring::begin(int member, int64_t sequence) {
  Slot& s = slot(sequence);
  s.num_arrived = 0;
  const std::string mismatch = find_mismatch(postings(sequence), world_ranks_);
  if (!mismatch.empty())
    return domain_.poison.set(
        fmt::format("{}: {}; every rank must call the same operations in the same order",
                    describe(member, sequence), mismatch));
  int64_t bytes = 0;
  int64_t num_chunks = 0;
  for (int i = 0; i < size(); ++i) {
    const Range chunks = lane_chunks(postings(sequence), i);
    Lane& lane = lanes(sequence)[static_cast<size_t>(i)];
    lane.next.store(chunks.begin, std::memory_order_relaxed);
    lane.end = chunks.end;
    num_chunks += chunks.size();
    bytes += result_bytes(postings(sequence), i);
  }
  s.chunks_left = num_chunks;
  if (num_chunks == 0) s.complete = sequence;
  s.ready = sequence;
  if (num_chunks > 0 && bytes <= kInlineBytes)
    work(member, sequence);
  else
    event_.notify();
}

void Ring::wait(int member, int64_t sequence) {
  Slot& s = slot(sequence);
  if (domain_.poison.is_set()) fail(sequence);
  auto is_complete = [&] { return s.complete.load() >= sequence; };
  await(member, sequence, [&] { return s.ready.load() >= sequence; });
  if (!is_complete()) work(member, sequence);
  await(member, sequence, is_complete);
}

// A rank that fails sets the poison and then waits for num_workers to be zero; a worker counts
// itself and then looks at the poison. Both in one total order, so either the rank waits for this
// worker or the worker stays away.
void Ring::work(int member, int64_t sequence) {
  Slot& s = slot(sequence);
  ++s.num_workers;
  const int64_t num_done = run_chunks(member, sequence);
  if (num_done > 0 && s.chunks_left.fetch_sub(num_done) == num_done) {
    s.complete = sequence;
    event_.notify();
  }
  --s.num_workers;
}

// Own lane first, whose memory is near, then the others'.
int64_t Ring::run_chunks(int member, int64_t sequence) {
  int64_t num_done = 0;
  for (int i = 0; i < size(); ++i) {
    const int owner = (member + i) % size();
    Lane& lane = lanes(sequence)[static_cast<size_t>(owner)];
    while (!domain_.poison.is_set()) {
      const int64_t chunk = lane.next.fetch_add(1, std::memory_order_relaxed);
      if (chunk >= lane.end) break;
      run_chunk(postings(sequence), owner, chunk);
      ++num_done;
    }
  }
  return num_done;
}

template <typename Predicate>
void Ring::await(int member, int64_t sequence, Predicate is_done) {
  if (is_done()) return;
  const Clock::time_point start = Clock::now();
  for (Clock::duration spent{}; spent < kPatience; spent = Clock::now() - start) {
    if (is_done()) return;
    if (domain_.may_spin && spent < kSpin)
      pause_cpu();
    else
      std::this_thread::yield();
  }
  for (const Clock::time_point deadline = start + domain_.timeout;;) {
    const uint32_t epoch = event_.epoch();
    if (is_done()) return;
    if (!domain_.poison.is_set() && Clock::now() >= deadline)
      domain_.poison.set(timeout_message(member, sequence));
    if (domain_.poison.is_set()) fail(sequence);
    event_.wait(epoch, deadline);
  }
}

void Ring::abandon(int member, int64_t sequence) {
  domain_.poison.set(fmt::format("{}: rank {} failed before it waited for it",
                                 describe(member, sequence),
                                 world_ranks_[static_cast<size_t>(member)]));
  drain(sequence);
}

void Ring::fail(int64_t sequence) {
  drain(sequence);
  domain_.poison.raise();
}

void Ring::drain(int64_t sequence) {
  while (slot(sequence).num_workers != 0) std::this_thread::yield();
}

std::string Ring::describe(int member, int64_t sequence) {
  return fmt::format("[{}] group {}, sequence {}",
                     to_string(postings(sequence)[static_cast<size_t>(member)]), name_, sequence);
}

std::string Ring::timeout_message(int member, int64_t sequence) {
  std::vector<int> missing;
  for (size_t i = 0; i < world_ranks_.size(); ++i)
    if (lanes(sequence)[i].arrived.load() < sequence) missing.push_back(world_ranks_[i]);
  const std::string who =
      missing.empty() ? "all ranks arrived but did not finish"
                      : fmt::format("{} {} did not arrive", missing.size() == 1 ? "rank" : "ranks",
                                    fmt::join(missing, ", "));
  return fmt::format(
      "{}: {} within {:g} s; find what holds them up, or raise trainer.comm_timeout_s",
      describe(member, sequence), who, std::chrono::duration<double>(domain_.timeout).count());
}

}  // namespace nemo::shared
