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
// Poison wakes nobody: sleepers look for it this often.
constexpr std::chrono::milliseconds kNap{100};

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

}  // namespace

// Where the parts of a ring begin. The rows come last: their pages stay untouched in most groups.
struct Ring::Layout {
  explicit Layout(int64_t num_members)
      : slots(sizeof(Event)),
        lanes(slots + kNumSlots * static_cast<int64_t>(sizeof(Slot))),
        postings(lanes + kNumSlots * num_members * static_cast<int64_t>(sizeof(Lane))),
        rows(postings + kNumSlots * num_members * static_cast<int64_t>(sizeof(Posting))),
        end(rows + kNumSlots * num_members * 2 * (num_members + 1) *
                       static_cast<int64_t>(sizeof(int64_t))) {}

  int64_t slots, lanes, postings, rows, end;
};

int64_t Ring::bytes(int num_members) {
  return Layout(num_members).end;
}

Ring::Ring(Domain& domain, int64_t offset, std::string name, std::vector<int> world_ranks,
           int member)
    : domain_(domain),
      name_(std::move(name)),
      world_ranks_(std::move(world_ranks)),
      member_(member) {
  const Layout layout(size());
  const Segment& segment = *domain_.segment;
  event_ = segment.at<Event>(offset);
  slots_ = segment.at<Slot>(offset + layout.slots);
  lanes_ = segment.at<Lane>(offset + layout.lanes);
  postings_ = segment.at<Posting>(offset + layout.postings);
  rows_ = segment.at<int64_t>(offset + layout.rows);
}

Operation Ring::operation(int64_t sequence) const {
  const size_t n = world_ranks_.size();
  const size_t first = static_cast<size_t>(index(sequence)) * n;
  return {{postings_ + first, n}, {rows_ + first * 2 * (n + 1), n * 2 * (n + 1)}, domain_.base()};
}

Posting& Ring::prepare(int64_t sequence) {
  if (domain_.poison.is_set()) domain_.poison.raise();
  if (sequence >= kNumSlots) wait(sequence - kNumSlots);
  return postings_[index(sequence) * size() + member_];
}

std::span<int64_t> Ring::rows(int64_t sequence) {
  const int64_t count = 2 * (size() + 1);
  return {rows_ + (index(sequence) * size() + member_) * count, static_cast<size_t>(count)};
}

void Ring::post(int64_t sequence) {
  lane(sequence, member_).arrived.store(sequence + 1);
  if (slot(sequence).num_arrived.fetch_add(1) + 1 == size()) begin(sequence);
}

// Every posting is in place, and nobody works in this slot: they all have left its last operation.
void Ring::begin(int64_t sequence) {
  Slot& s = slot(sequence);
  s.num_arrived = 0;
  const Operation op = operation(sequence);
  const std::string mismatch = find_mismatch(op, world_ranks_);
  if (!mismatch.empty())
    return domain_.poison.set(
        fmt::format("{}: {}; every rank must call the same operations in the same order",
                    describe(sequence), mismatch));
  int64_t num_bytes = 0;
  int64_t num_chunks = 0;
  for (int i = 0; i < size(); ++i) {
    const Range chunks = lane_chunks(op, i);
    Lane& l = lane(sequence, i);
    l.next.store(chunks.begin, std::memory_order_relaxed);
    l.end = chunks.end;
    num_chunks += chunks.size();
    num_bytes += result_bytes(op, i);
  }
  s.chunks_left = num_chunks;
  if (num_chunks == 0) s.complete = sequence + 1;
  s.ready = sequence + 1;
  if (num_chunks > 0 && num_bytes <= kInlineBytes)
    work(sequence);
  else
    event_->notify(domain_.scope);
}

void Ring::wait(int64_t sequence) {
  Slot& s = slot(sequence);
  if (domain_.poison.is_set()) fail(sequence);
  await(s.ready, sequence);
  if (s.complete.load() <= sequence) work(sequence);
  await(s.complete, sequence);
}

// A rank that fails sets the poison and then waits for num_workers to be zero; a worker counts
// itself and then looks at the poison. Both in one total order, so either the rank waits for this
// worker or the worker stays away.
void Ring::work(int64_t sequence) {
  Slot& s = slot(sequence);
  ++s.num_workers;
  const int64_t num_done = run_chunks(sequence);
  if (num_done > 0 && s.chunks_left.fetch_sub(num_done) == num_done) {
    s.complete = sequence + 1;
    event_->notify(domain_.scope);
  }
  --s.num_workers;
}

// Own lane first, whose memory is near, then the others'.
int64_t Ring::run_chunks(int64_t sequence) {
  const Operation op = operation(sequence);
  int64_t num_done = 0;
  for (int i = 0; i < size(); ++i) {
    const int owner = (member_ + i) % size();
    Lane& l = lane(sequence, owner);
    while (!domain_.poison.is_set()) {
      const int64_t chunk = l.next.fetch_add(1, std::memory_order_relaxed);
      if (chunk >= l.end) break;
      run_chunk(op, owner, chunk);
      ++num_done;
    }
  }
  return num_done;
}

void Ring::await(const std::atomic<int64_t>& counter, int64_t sequence) {
  if (counter.load() > sequence) return;
  const Clock::time_point start = Clock::now();
  for (Clock::duration spent{}; spent < kPatience; spent = Clock::now() - start) {
    if (counter.load() > sequence) return;
    if (domain_.may_spin && spent < kSpin)
      pause_cpu();
    else
      std::this_thread::yield();
  }
  Sleep& sleep = domain_.sleep_of(world_ranks_[static_cast<size_t>(member_)]);
  sleep.sequence = sequence;
  sleep.counter = domain_.offset_of(&counter);
  sleep_until(counter, sequence);
  sleep.counter = 0;
}

// When the time is up and all that are missed wait for others, one of those knows better whom to
// name and is given as long again; only ranks that wait in a circle take it.
void Ring::sleep_until(const std::atomic<int64_t>& counter, int64_t sequence) {
  for (const Clock::time_point deadline = Clock::now() + domain_.timeout;;) {
    const uint32_t epoch = event_->epoch();
    if (counter.load() > sequence) return;
    const Clock::time_point now = Clock::now();
    const bool is_late =
        now >= deadline && (!late_ranks(sequence).empty() || now >= deadline + domain_.timeout);
    if (is_late && !domain_.poison.is_set()) domain_.poison.set(timeout_message(sequence));
    if (domain_.poison.is_set()) fail(sequence);
    const Clock::time_point nap = now + kNap;
    event_->wait(epoch, now < deadline ? std::min(deadline, nap) : nap, domain_.scope);
  }
}

void Ring::abandon(int64_t sequence) {
  domain_.poison.set(fmt::format("{}: rank {} failed before it waited for it", describe(sequence),
                                 world_ranks_[static_cast<size_t>(member_)]));
  drain(sequence);
}

void Ring::fail(int64_t sequence) {
  drain(sequence);
  domain_.poison.raise();
}

// A process has its own mapping of the memory, so there is nothing to wait for, and a worker that
// was killed would never leave.
void Ring::drain(int64_t sequence) {
  if (domain_.scope == Scope::kProcesses) return;
  while (slot(sequence).num_workers != 0) std::this_thread::yield();
}

std::string Ring::describe(int64_t sequence) const {
  return fmt::format("[{}] group {}, sequence {}", to_string(operation(sequence)[member_]), name_,
                     sequence);
}

std::vector<int> Ring::missing_ranks(int64_t sequence) {
  std::vector<int> missing;
  for (int i = 0; i < size(); ++i)
    if (lane(sequence, i).arrived.load() <= sequence)
      missing.push_back(world_ranks_[static_cast<size_t>(i)]);
  return missing;
}

std::vector<int> Ring::late_ranks(int64_t sequence) {
  std::vector<int> ranks = missing_ranks(sequence);
  if (ranks.empty()) ranks = world_ranks_;
  std::erase_if(ranks, [this](int rank) { return domain_.waits(rank); });
  return ranks;
}

std::string Ring::timeout_message(int64_t sequence) {
  const std::vector<int> missing = missing_ranks(sequence);
  std::vector<int> late = late_ranks(sequence);
  if (late.empty()) late = missing;
  const std::string who =
      late.empty() ? "all ranks arrived but did not finish"
                   : fmt::format("{} {} did not {}", late.size() == 1 ? "rank" : "ranks",
                                 fmt::join(late, ", "), missing.empty() ? "finish" : "arrive");
  return fmt::format(
      "{}: {} within {:g} s; find what holds them up, or raise trainer.comm_timeout_s",
      describe(sequence), who, std::chrono::duration<double>(domain_.timeout).count());
}

}  // namespace nemo::shared
