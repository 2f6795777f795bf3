#include "lib/comm/shared/shared_communicator.h"

#include <algorithm>
#include <cstring>

#include "lib/comm/contract.h"

namespace nemo::shared {
namespace {

void copy(const Tensor& from, const Tensor& to) {
  std::memcpy(to.raw(), from.raw(), static_cast<size_t>(from.bytes()));
}

}  // namespace

int64_t SharedCommunicator::allocate(Segment& segment, int num_ranks) {
  const int64_t num_channels = int64_t{num_ranks} * num_ranks;
  return segment.allocate(Ring::bytes(num_ranks) +
                          num_channels * static_cast<int64_t>(sizeof(std::atomic<int64_t>)));
}

SharedCommunicator::SharedCommunicator(std::shared_ptr<Domain> domain, int64_t offset,
                                       const std::string& name, std::vector<int> world_ranks,
                                       int rank)
    : Communicator(name, rank, static_cast<int>(world_ranks.size())),
      domain_(std::move(domain)),
      world_ranks_(std::move(world_ranks)),
      channels_(domain_->segment->at<std::atomic<int64_t>>(offset + Ring::bytes(size()))),
      endpoints_(static_cast<size_t>(1 + 2 * size())) {
  endpoints_[0].ring = std::make_unique<Ring>(*domain_, offset, name, world_ranks_, rank);
}

Work SharedCommunicator::all_reduce(const Tensor& buffer, ReduceOp op, const char* label) {
  contract::check_all_reduce(buffer, label);
  Posting& p = prepare(endpoints_[0], OpKind::kAllReduce, label, buffer.dtype(), buffer.numel(),
                       buffer, buffer);
  p.reduce = op;
  return post(endpoints_[0], buffer, buffer);
}

Work SharedCommunicator::all_gather(const Tensor& input, const Tensor& output, const char* label) {
  contract::check_all_gather(size(), input, output, label);
  prepare(endpoints_[0], OpKind::kAllGather, label, input.dtype(), input.numel(), input, output);
  return post(endpoints_[0], input, output);
}

Work SharedCommunicator::reduce_scatter(const Tensor& input, const Tensor& output, ReduceOp op,
                                        const char* label) {
  contract::check_reduce_scatter(size(), input, output, label);
  Posting& p = prepare(endpoints_[0], OpKind::kReduceScatter, label, output.dtype(), output.numel(),
                       input, output);
  p.reduce = op;
  return post(endpoints_[0], input, output);
}

Work SharedCommunicator::all_to_all(const Tensor& input, const Tensor& output, const char* label) {
  contract::check_all_to_all(size(), input, output, label);
  prepare(endpoints_[0], OpKind::kAllToAll, label, input.dtype(), input.numel() / size(), input,
          output);
  return post(endpoints_[0], input, output);
}

Work SharedCommunicator::all_to_all_v(const Tensor& input, std::span<const int64_t> input_rows,
                                      const Tensor& output, std::span<const int64_t> output_rows,
                                      const char* label) {
  contract::check_all_to_all_v(size(), input, input_rows, output, output_rows, label);
  Endpoint& endpoint = endpoints_[0];
  prepare(endpoint, OpKind::kAllToAllV, label, input.dtype(), input.stride(0), input, output);
  const std::span<int64_t> rows = endpoint.ring->rows(endpoint.next);
  set_offsets(rows.first(rows.size() / 2), input_rows);
  set_offsets(rows.last(rows.size() / 2), output_rows);
  return post(endpoint, input, output);
}

Work SharedCommunicator::broadcast(const Tensor& buffer, int root, const char* label) {
  contract::check_broadcast(size(), buffer, root, label);
  Posting& p = prepare(endpoints_[0], OpKind::kBroadcast, label, buffer.dtype(), buffer.numel(),
                       buffer, buffer);
  p.root = root;
  return post(endpoints_[0], buffer, buffer);
}

Work SharedCommunicator::send(const Tensor& buffer, int peer, const char* label) {
  contract::check_peer("send", rank(), size(), buffer, peer, label);
  Endpoint& endpoint = sending_to(peer);
  prepare(endpoint, OpKind::kPointToPoint, label, buffer.dtype(), buffer.numel(), buffer, {});
  return post(endpoint, buffer, buffer);
}

Work SharedCommunicator::receive(const Tensor& buffer, int peer, const char* label) {
  contract::check_peer("receive", rank(), size(), buffer, peer, label);
  Endpoint& endpoint = receiving_from(peer);
  prepare(endpoint, OpKind::kPointToPoint, label, buffer.dtype(), buffer.numel(), {}, buffer);
  return post(endpoint, buffer, buffer);
}

void SharedCommunicator::barrier(const char* label) {
  prepare(endpoints_[0], OpKind::kBarrier, label, DType::kF32, 0, {}, {});
  wait(post(endpoints_[0]));
}

std::unique_ptr<Communicator> SharedCommunicator::split(int color, const std::string& name) {
  const std::vector<int64_t> colors = gather(color);
  std::vector<int> members, world_ranks;
  int new_rank = 0;
  for (int i = 0; i < size(); ++i) {
    if (colors[static_cast<size_t>(i)] != color) continue;
    if (i == rank()) new_rank = static_cast<int>(members.size());
    members.push_back(i);
    world_ranks.push_back(world_ranks_[static_cast<size_t>(i)]);
  }
  const int new_size = static_cast<int>(members.size());
  const int64_t mine = new_rank == 0 ? allocate(*domain_->segment, new_size) : 0;
  const int64_t offset = gather(mine)[static_cast<size_t>(members[0])];
  return std::make_unique<SharedCommunicator>(domain_, offset, name, std::move(world_ranks),
                                              new_rank);
}

std::vector<int64_t> SharedCommunicator::gather(int64_t value) {
  std::vector<int64_t> values(static_cast<size_t>(size()));
  const Tensor input(&value, DType::kI64, {1}), output(values.data(), DType::kI64, {size()});
  prepare(endpoints_[0], OpKind::kAllGather, "split", DType::kI64, 1, input, output);
  wait(post(endpoints_[0]));
  return values;
}

AddressRange SharedCommunicator::reserve_memory(int64_t bytes) {
  return domain_->reserve_memory(bytes);
}

void SharedCommunicator::poison(const std::string& reason) noexcept {
  domain_->poison.set(reason);
}

SharedCommunicator::Endpoint& SharedCommunicator::sending_to(int peer) {
  Endpoint& endpoint = endpoints_[static_cast<size_t>(1 + peer)];
  if (!endpoint.ring) open_channel(endpoint, rank(), peer);
  return endpoint;
}

SharedCommunicator::Endpoint& SharedCommunicator::receiving_from(int peer) {
  Endpoint& endpoint = endpoints_[static_cast<size_t>(1 + size() + peer)];
  if (!endpoint.ring) open_channel(endpoint, peer, rank());
  return endpoint;
}

void SharedCommunicator::open_channel(Endpoint& endpoint, int from, int to) {
  std::atomic<int64_t>& place = channels_[from * size() + to];
  int64_t offset = place.load();
  if (offset == 0) {
    const int64_t made = domain_->segment->allocate(Ring::bytes(2));
    if (place.compare_exchange_strong(offset, made)) offset = made;
  }
  endpoint.ring = std::make_unique<Ring>(
      *domain_, offset, name(),
      std::vector{world_ranks_[static_cast<size_t>(from)], world_ranks_[static_cast<size_t>(to)]},
      from == rank() ? 0 : 1);
}

Posting& SharedCommunicator::prepare(Endpoint& endpoint, OpKind kind, const char* label,
                                     DType dtype, int64_t count, const Tensor& input,
                                     const Tensor& output) {
  Posting& p = endpoint.ring->prepare(endpoint.next);
  p.kind = kind;
  p.dtype = dtype;
  p.reduce = ReduceOp::kSum;
  p.root = 0;
  set_label(p, label);
  p.count = count;
  if (domain_->reaches(input) && domain_->reaches(output)) {
    p.input = offset_of(input);
    p.output = offset_of(output);
  } else {
    const Staged& copies = stage(next_ticket(endpoint), input, output);
    p.input = offset_of(copies.input);
    p.output = offset_of(copies.output);
  }
  return p;
}

int64_t SharedCommunicator::post(Endpoint& endpoint) {
  const int64_t ticket = next_ticket(endpoint);
  endpoint.ring->post(endpoint.next++);
  return ticket;
}

Work SharedCommunicator::post(Endpoint& endpoint, const Tensor& input, const Tensor& output) {
  return Work(this, post(endpoint), input, output);
}

int64_t SharedCommunicator::next_ticket(const Endpoint& endpoint) const {
  return endpoint.next * std::ssize(endpoints_) + (&endpoint - endpoints_.data());
}

SharedCommunicator::Ticket SharedCommunicator::find(int64_t ticket) {
  return {*endpoints_[static_cast<size_t>(ticket % std::ssize(endpoints_))].ring,
          ticket / std::ssize(endpoints_)};
}

void SharedCommunicator::wait(int64_t ticket) {
  const auto [ring, sequence] = find(ticket);
  ring.wait(sequence);
  if (!staged_.empty()) unstage(ticket);
}

void SharedCommunicator::wait(int64_t ticket, Stream&) {
  wait(ticket);
}

void SharedCommunicator::abandon(int64_t ticket) noexcept {
  const auto [ring, sequence] = find(ticket);
  ring.abandon(sequence);
}

int64_t SharedCommunicator::offset_of(const Tensor& tensor) const {
  if (!tensor) return 0;
  return static_cast<int64_t>(reinterpret_cast<uintptr_t>(tensor.raw()) - domain_->base());
}

const SharedCommunicator::Staged& SharedCommunicator::stage(int64_t ticket, const Tensor& input,
                                                            const Tensor& output) {
  auto copy_of = [&](const Tensor& tensor) {
    return Tensor(*domain_->staging, tensor.dtype(), tensor.shape(), MemoryCategory::kCommunication,
                  "staging");
  };
  Staged copies = {ticket, input, output, {}};
  if (!domain_->reaches(input)) {
    copies.input = copy_of(input);
    copy(input, copies.input);
  }
  if (!domain_->reaches(output)) {
    const bool in_place = output.raw() == input.raw() && output.bytes() == input.bytes();
    copies.output = in_place ? copies.input : copy_of(output);
    copies.destination = output;
  }
  return staged_.emplace_back(std::move(copies));
}

void SharedCommunicator::unstage(int64_t ticket) {
  const auto copies = std::ranges::find(staged_, ticket, &Staged::ticket);
  if (copies == staged_.end()) return;
  if (copies->destination) copy(copies->output, copies->destination);
  staged_.erase(copies);
}

}  // namespace nemo::shared
