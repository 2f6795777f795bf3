#include "lib/comm/gloo/gloo_communicator.h"

#include <algorithm>
#include <array>

#include "lib/comm/contract.h"
#include "lib/comm/gloo/sigpipe_guard.h"
#include "lib/comm/shared/process_host.h"

namespace nemo::gloo {
namespace {

// Poison wakes nobody: sleepers look for it this often.
constexpr std::chrono::milliseconds kNap{100};

int64_t address_of(const Tensor& tensor) {
  return tensor ? static_cast<int64_t>(reinterpret_cast<uintptr_t>(tensor.raw())) : 0;
}

}  // namespace

GlooCommunicator::GlooCommunicator(std::shared_ptr<Network> network, int64_t group,
                                   const std::string& name, std::vector<int> world_ranks, int rank)
    : Communicator(name, rank, static_cast<int>(world_ranks.size())),
      network_(std::move(network)),
      group_(group),
      world_ranks_(std::move(world_ranks)),
      exchange_(*network_, group_, world_ranks_, rank),
      num_transfers_(2 * world_ranks_.size()) {
  if (size() > kMaxRanks)
    throw_usage("[launch] {} ranks in group {}, at most {} are possible", size(), name, kMaxRanks);
  network_->connect(world_ranks_, fmt::format("{}/{}", group_, world_ranks_[0]));
  if (size() > 1) progress_ = std::thread([this] { progress(); });
}

GlooCommunicator::~GlooCommunicator() {
  {
    const std::lock_guard lock(mutex_);
    is_closing_ = true;
  }
  changed_.notify_all();
  if (progress_.joinable()) progress_.join();
}

Work GlooCommunicator::all_reduce(const Tensor& buffer, ReduceOp op, const char* label) {
  contract::check_all_reduce(buffer, label);
  Call call = prepare(OpKind::kAllReduce, label, buffer.dtype(), buffer.numel(), buffer, buffer);
  call.posting.reduce = op;
  return post(std::move(call), buffer, buffer);
}

Work GlooCommunicator::all_gather(const Tensor& input, const Tensor& output, const char* label) {
  contract::check_all_gather(size(), input, output, label);
  return post(prepare(OpKind::kAllGather, label, input.dtype(), input.numel(), input, output),
              input, output);
}

Work GlooCommunicator::reduce_scatter(const Tensor& input, const Tensor& output, ReduceOp op,
                                      const char* label) {
  contract::check_reduce_scatter(size(), input, output, label);
  Call call = prepare(OpKind::kReduceScatter, label, output.dtype(), output.numel(), input, output);
  call.posting.reduce = op;
  return post(std::move(call), input, output);
}

Work GlooCommunicator::all_to_all(const Tensor& input, const Tensor& output, const char* label) {
  contract::check_all_to_all(size(), input, output, label);
  return post(
      prepare(OpKind::kAllToAll, label, input.dtype(), input.numel() / size(), input, output),
      input, output);
}

Work GlooCommunicator::all_to_all_v(const Tensor& input, std::span<const int64_t> input_rows,
                                    const Tensor& output, std::span<const int64_t> output_rows,
                                    const char* label) {
  contract::check_all_to_all_v(size(), input, input_rows, output, output_rows, label);
  Call call = prepare(OpKind::kAllToAllV, label, input.dtype(), input.stride(0), input, output);
  call.rows.resize(2 * (world_ranks_.size() + 1));
  const std::span<int64_t> rows(call.rows);
  set_offsets(rows.first(rows.size() / 2), input_rows);
  set_offsets(rows.last(rows.size() / 2), output_rows);
  return post(std::move(call), input, output);
}

Work GlooCommunicator::broadcast(const Tensor& buffer, int root, const char* label) {
  contract::check_broadcast(size(), buffer, root, label);
  Call call = prepare(OpKind::kBroadcast, label, buffer.dtype(), buffer.numel(), buffer, buffer);
  call.posting.root = root;
  return post(std::move(call), buffer, buffer);
}

void GlooCommunicator::barrier(const char* label) {
  wait(post(prepare(OpKind::kBarrier, label, DType::kF32, 0, {}, {})));
}

Work GlooCommunicator::send(const Tensor& buffer, int peer, const char* label) {
  contract::check_peer("send", rank(), size(), buffer, peer, label);
  return post_transfer(rank(), peer, buffer, label);
}

Work GlooCommunicator::receive(const Tensor& buffer, int peer, const char* label) {
  contract::check_peer("receive", rank(), size(), buffer, peer, label);
  return post_transfer(peer, rank(), buffer, label);
}

AddressRange GlooCommunicator::reserve_memory(int64_t bytes) {
  ProcessHost* host = network_->host();
  return host ? host->reserve_memory(bytes) : reserve_private(bytes);
}

void GlooCommunicator::poison(const std::string& reason) noexcept {
  network_->fail(reason, Evidence::kCause);
}

std::unique_ptr<Communicator> GlooCommunicator::split(int color, const std::string& name) {
  const std::vector<int64_t> told = gather(std::array{int64_t{color}, network_->next_group()});
  std::vector<int> members, world_ranks;
  int64_t group = 0;
  for (int i = 0; i < size(); ++i) {
    group = std::max(group, told[static_cast<size_t>(2 * i + 1)]);
    if (told[static_cast<size_t>(2 * i)] != color) continue;
    members.push_back(i);
    world_ranks.push_back(world_ranks_[static_cast<size_t>(i)]);
  }
  network_->set_next_group(group + 1);
  const auto new_rank = static_cast<int>(std::ranges::find(members, rank()) - members.begin());
  if (ProcessHost* host = network_->host()) {
    const bool is_on_host = std::ranges::includes(host->ranks(), world_ranks);
    const bool allocates = is_on_host && new_rank == 0;
    const int64_t mine = allocates ? host->allocate_group(static_cast<int>(members.size())) : 0;
    const int64_t place = gather({&mine, 1})[static_cast<size_t>(members[0])];
    if (is_on_host) return host->open_group(place, name, std::move(world_ranks), new_rank);
  }
  return std::make_unique<GlooCommunicator>(network_, group, name, std::move(world_ranks),
                                            new_rank);
}

std::vector<int64_t> GlooCommunicator::gather(std::span<const int64_t> values) {
  std::vector<int64_t> all(values.size() * world_ranks_.size());
  const Tensor input(const_cast<int64_t*>(values.data()), DType::kI64, {std::ssize(values)});
  const Tensor output(all.data(), DType::kI64, {std::ssize(all)});
  wait(post(prepare(OpKind::kAllGather, "split", DType::kI64, input.numel(), input, output)));
  return all;
}

Call GlooCommunicator::prepare(OpKind kind, const char* label, DType dtype, int64_t count,
                               const Tensor& input, const Tensor& output) {
  if (network_->is_poisoned()) network_->raise();
  Call call{};
  call.posting.kind = kind;
  call.posting.dtype = dtype;
  call.posting.count = count;
  call.posting.input = address_of(input);
  call.posting.output = address_of(output);
  set_label(call.posting, label);
  return call;
}

Work GlooCommunicator::post(Call call, const Tensor& input, const Tensor& output) {
  return Work(this, post(std::move(call)), input, output);
}

int64_t GlooCommunicator::post(Call call) {
  call.sequence = num_collectives_++;
  network_->set_called(Network::how_far_key(group_, 0), call.sequence);
  in_flight_.push_back({num_tickets_++, call.sequence, call.posting, nullptr});
  if (size() > 1) {
    const std::lock_guard lock(mutex_);
    queue_.push_back(std::move(call));
  } else if (run(call)) {
    ++num_done_;
  }
  changed_.notify_all();
  return in_flight_.back().ticket;
}

Work GlooCommunicator::post_transfer(int from, int to, const Tensor& buffer, const char* label) {
  const bool is_send = from == rank();
  const int peer = is_send ? to : from;
  const int peer_rank = world_ranks_[static_cast<size_t>(peer)];
  auto transfer = std::make_unique<Transfer>();
  transfer->from = from;
  transfer->to = to;
  transfer->mine = prepare(OpKind::kPointToPoint, label, buffer.dtype(), buffer.numel(),
                           is_send ? buffer : Tensor(), is_send ? Tensor() : buffer)
                       .posting;
  const int64_t sequence = num_transfers_[static_cast<size_t>(is_send ? peer : size() + peer)]++;
  network_->set_called(Network::how_far_key(group_, channel_of(from, to)), sequence);

  const Traffic mine = is_send ? Traffic::kSenderCall : Traffic::kReceiverCall;
  const Traffic theirs = is_send ? Traffic::kReceiverCall : Traffic::kSenderCall;
  auto& messages = transfer->messages;
  constexpr int64_t kBytes = sizeof(Posting);
  messages.push_back(Message::receive(*network_, peer_rank, tag_of(group_, theirs, sequence),
                                      reinterpret_cast<std::byte*>(&transfer->theirs), kBytes));
  messages.push_back(Message::send(*network_, peer_rank, tag_of(group_, mine, sequence),
                                   reinterpret_cast<std::byte*>(&transfer->mine), kBytes));
  if (const int64_t bytes = buffer.bytes(); bytes > 0) {
    const uint64_t tag = tag_of(group_, Traffic::kTransfer, sequence, bytes);
    auto* data = static_cast<std::byte*>(buffer.raw());
    messages.push_back(is_send ? Message::send(*network_, peer_rank, tag, data, bytes)
                               : Message::receive(*network_, peer_rank, tag, data, bytes));
  }
  in_flight_.push_back({num_tickets_++, sequence, transfer->mine, std::move(transfer)});
  return Work(this, in_flight_.back().ticket, buffer, buffer);
}

void GlooCommunicator::progress() {
  const SigpipeGuard guard;
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock,
                  [&] { return is_closing_ || (!queue_.empty() && !network_->is_poisoned()); });
    if (is_closing_) return;
    const Call& call = queue_.front();
    is_running_ = true;
    lock.unlock();
    const bool is_done = run(call);
    lock.lock();
    is_running_ = false;
    if (is_done) {
      queue_.pop_front();
      ++num_done_;
    }
    changed_.notify_all();
  }
}

bool GlooCommunicator::run(const Call& call) noexcept {
  try {
    const std::string mismatch = exchange_.run(call);
    if (mismatch.empty()) return true;
    report_mismatch(call.posting, call.sequence, mismatch);
  } catch (const CommError&) {  // the world has failed, and knows why
  } catch (const std::exception& e) {
    network_->fail(fmt::format("{}: {}", describe(call.posting, call.sequence), e.what()),
                   Evidence::kCause);
  }
  network_->settle();
  return false;
}

void GlooCommunicator::wait(int64_t ticket, Stream&) {
  wait(ticket);
}

void GlooCommunicator::wait(int64_t ticket) {
  InFlight call = take(ticket);
  if (!call.transfer) return wait_for_collective(call.sequence);
  try {
    wait_for_transfer(call);
  } catch (const CommError&) {
    call.transfer.reset();
    network_->settle();
    throw;
  }
}

GlooCommunicator::InFlight GlooCommunicator::take(int64_t ticket) {
  const auto found = std::ranges::find(in_flight_, ticket, &InFlight::ticket);
  InFlight taken = std::move(*found);
  in_flight_.erase(found);
  return taken;
}

void GlooCommunicator::wait_for_collective(int64_t sequence) {
  Patience patience = full_patience();
  std::unique_lock lock(mutex_);
  if (num_done_ > sequence && !network_->is_poisoned()) return;
  const Network::Waiting waiting(*network_);
  for (;;) {
    if (network_->is_poisoned()) {
      drain(lock);
      network_->raise();
    }
    if (num_done_ > sequence) return;
    const Clock::time_point now = Clock::now();
    if (now < patience.deadline) {
      changed_.wait_until(lock, std::min(patience.deadline, now + kNap));
      continue;
    }
    const Posting stuck = queue_.front().posting;
    const int64_t stuck_sequence = queue_.front().sequence;
    lock.unlock();
    report_hang(stuck, stuck_sequence, 0, world_ranks_, patience);
    lock.lock();
  }
}

void GlooCommunicator::wait_for_transfer(const InFlight& call) {
  Transfer& transfer = *call.transfer;
  const std::vector<int> ends = {world_ranks_[static_cast<size_t>(transfer.from)],
                                 world_ranks_[static_cast<size_t>(transfer.to)]};
  Patience patience = full_patience();
  const Network::Waiting waiting(*network_);
  for (Message& message : transfer.messages) {
    while (!message.wait(patience.deadline))
      report_hang(call.posting, call.sequence, channel_of(transfer.from, transfer.to), ends,
                  patience);
    if (&message == &transfer.messages.front()) check_transfer(call, ends);
  }
}

// Once the peer has told what it called.
void GlooCommunicator::check_transfer(const InFlight& call, const std::vector<int>& ends) {
  const Transfer& transfer = *call.transfer;
  const bool is_send = transfer.from == rank();
  const std::array calls = {is_send ? transfer.mine : transfer.theirs,
                            is_send ? transfer.theirs : transfer.mine};
  const std::string mismatch = find_mismatch({calls, {}, 0}, ends);
  if (mismatch.empty()) return;
  report_mismatch(call.posting, call.sequence, mismatch);
  network_->raise();
}

// The job learns of it from whatever made this rank fail.
void GlooCommunicator::abandon(int64_t ticket) noexcept {
  InFlight call = take(ticket);
  network_->poison(fmt::format("{}: rank {} failed before it waited for it",
                               describe(call.posting, call.sequence), network_->rank()));
  call.transfer.reset();
  network_->settle();
  std::unique_lock lock(mutex_);
  drain(lock);
}

void GlooCommunicator::drain(std::unique_lock<std::mutex>& lock) noexcept {
  changed_.wait(lock, [&] { return !is_running_; });
}

int64_t GlooCommunicator::channel_of(int from, int to) const {
  return 1 + int64_t{from} * size() + to;
}

std::string GlooCommunicator::describe(const Posting& posting, int64_t sequence) const {
  return fmt::format("[{}] group {}, sequence {}", to_string(posting), name(), sequence);
}

void GlooCommunicator::report_mismatch(const Posting& posting, int64_t sequence,
                                       const std::string& mismatch) noexcept {
  network_->fail(fmt::format("{}: {}; every rank must call the same operations in the same order",
                             describe(posting, sequence), mismatch),
                 Evidence::kEcho);
}

GlooCommunicator::Patience GlooCommunicator::full_patience() const {
  return {.deadline = Clock::now() + network_->timeout()};
}

void GlooCommunicator::report_hang(const Posting& posting, int64_t sequence, int64_t channel,
                                   const std::vector<int>& world_ranks,
                                   Patience& patience) noexcept {
  const bool is_over =
      network_->fail({.operation = describe(posting, sequence),
                      .group = Network::how_far_key(group_, channel),
                      .members = world_ranks,
                      .sequence = sequence,
                      .timeout_s = std::chrono::duration<double>(network_->timeout()).count(),
                      .is_last = patience.is_last});
  if (!is_over) patience = {.deadline = Clock::now() + network_->timeout(), .is_last = true};
}

}  // namespace nemo::gloo
