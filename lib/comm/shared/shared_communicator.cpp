#include "lib/comm/shared/shared_communicator.h"

#include "lib/comm/contract.h"

namespace nemo::shared {
namespace {

void set_offsets(std::vector<int64_t>& offsets, std::span<const int64_t> rows) {
  offsets.assign(1, 0);
  for (int64_t n : rows) offsets.push_back(offsets.back() + n);
}

}  // namespace

SharedCommunicator::SharedCommunicator(std::shared_ptr<Group> group, int rank)
    : Communicator(group->name(), rank, group->size()),
      group_(std::move(group)),
      endpoints_(static_cast<size_t>(1 + 2 * size())) {
  endpoints_[0] = {&group_->collectives(), rank, 0};
}

Work SharedCommunicator::all_reduce(const Tensor& buffer, ReduceOp op, const char* label) {
  contract::check_all_reduce(buffer, label);
  Posting& p = prepare(endpoints_[0], OpKind::kAllReduce, label, buffer.dtype(), buffer.numel(),
                       buffer.raw(), buffer.raw());
  p.reduce = op;
  return post(endpoints_[0], buffer, buffer);
}

Work SharedCommunicator::all_gather(const Tensor& input, const Tensor& output, const char* label) {
  contract::check_all_gather(size(), input, output, label);
  prepare(endpoints_[0], OpKind::kAllGather, label, input.dtype(), input.numel(), input.raw(),
          output.raw());
  return post(endpoints_[0], input, output);
}

Work SharedCommunicator::reduce_scatter(const Tensor& input, const Tensor& output, ReduceOp op,
                                        const char* label) {
  contract::check_reduce_scatter(size(), input, output, label);
  Posting& p = prepare(endpoints_[0], OpKind::kReduceScatter, label, output.dtype(), output.numel(),
                       input.raw(), output.raw());
  p.reduce = op;
  return post(endpoints_[0], input, output);
}

Work SharedCommunicator::all_to_all(const Tensor& input, const Tensor& output, const char* label) {
  contract::check_all_to_all(size(), input, output, label);
  prepare(endpoints_[0], OpKind::kAllToAll, label, input.dtype(), input.numel() / size(),
          input.raw(), output.raw());
  return post(endpoints_[0], input, output);
}

Work SharedCommunicator::all_to_all_v(const Tensor& input, std::span<const int64_t> input_rows,
                                      const Tensor& output, std::span<const int64_t> output_rows,
                                      const char* label) {
  contract::check_all_to_all_v(size(), input, input_rows, output, output_rows, label);
  Posting& p = prepare(endpoints_[0], OpKind::kAllToAllV, label, input.dtype(), input.stride(0),
                       input.raw(), output.raw());
  set_offsets(p.input_offsets, input_rows);
  set_offsets(p.output_offsets, output_rows);
  return post(endpoints_[0], input, output);
}

Work SharedCommunicator::broadcast(const Tensor& buffer, int root, const char* label) {
  contract::check_broadcast(size(), buffer, root, label);
  Posting& p = prepare(endpoints_[0], OpKind::kBroadcast, label, buffer.dtype(), buffer.numel(),
                       buffer.raw(), buffer.raw());
  p.root = root;
  return post(endpoints_[0], buffer, buffer);
}

Work SharedCommunicator::send(const Tensor& buffer, int peer, const char* label) {
  contract::check_peer("send", rank(), size(), buffer, peer, label);
  Endpoint& endpoint = sending_to(peer);
  prepare(endpoint, OpKind::kPointToPoint, label, buffer.dtype(), buffer.numel(), buffer.raw(),
          nullptr);
  return post(endpoint, buffer, buffer);
}

Work SharedCommunicator::receive(const Tensor& buffer, int peer, const char* label) {
  contract::check_peer("receive", rank(), size(), buffer, peer, label);
  Endpoint& endpoint = receiving_from(peer);
  prepare(endpoint, OpKind::kPointToPoint, label, buffer.dtype(), buffer.numel(), nullptr,
          buffer.raw());
  return post(endpoint, buffer, buffer);
}

void SharedCommunicator::barrier(const char* label) {
  Endpoint& endpoint = endpoints_[0];
  prepare(endpoint, OpKind::kBarrier, label, DType::kF32, 0, nullptr, nullptr);
  run(endpoint);
}

std::unique_ptr<Communicator> SharedCommunicator::split(int color, const std::string& name) {
  std::vector<int> colors(static_cast<size_t>(size()));
  Endpoint& endpoint = endpoints_[0];
  prepare(endpoint, OpKind::kAllGather, "split", DType::kI32, 1, &color, colors.data());
  const int64_t sequence = run(endpoint);

  std::vector<int> members;
  int new_rank = 0;
  for (int i = 0; i < size(); ++i) {
    if (colors[static_cast<size_t>(i)] != color) continue;
    if (i == rank()) new_rank = static_cast<int>(members.size());
    members.push_back(i);
  }
  return std::make_unique<SharedCommunicator>(group_->meet(sequence, color, members, name),
                                              new_rank);
}

void SharedCommunicator::poison(const std::string& reason) noexcept {
  group_->domain().poison.set(reason);
}

SharedCommunicator::Endpoint& SharedCommunicator::sending_to(int peer) {
  Endpoint& endpoint = endpoints_[static_cast<size_t>(1 + peer)];
  if (!endpoint.ring) endpoint = {&group_->channel(rank(), peer), 0, 0};
  return endpoint;
}

SharedCommunicator::Endpoint& SharedCommunicator::receiving_from(int peer) {
  Endpoint& endpoint = endpoints_[static_cast<size_t>(1 + size() + peer)];
  if (!endpoint.ring) endpoint = {&group_->channel(peer, rank()), 1, 0};
  return endpoint;
}

Posting& SharedCommunicator::prepare(Endpoint& endpoint, OpKind kind, const char* label,
                                     DType dtype, int64_t count, const void* input, void* output) {
  Posting& p = endpoint.ring->prepare(endpoint.member, endpoint.next);
  p.kind = kind;
  p.dtype = dtype;
  p.reduce = ReduceOp::kSum;
  p.root = 0;
  p.label = label;
  p.input = static_cast<const std::byte*>(input);
  p.output = static_cast<std::byte*>(output);
  p.count = count;
  return p;
}

Work SharedCommunicator::post(Endpoint& endpoint, const Tensor& input, const Tensor& output) {
  const int64_t sequence = endpoint.next++;
  endpoint.ring->post(endpoint.member, sequence);
  return Work(this, sequence * std::ssize(endpoints_) + (&endpoint - endpoints_.data()), input,
              output);
}

int64_t SharedCommunicator::run(Endpoint& endpoint) {
  const int64_t sequence = endpoint.next++;
  endpoint.ring->post(endpoint.member, sequence);
  endpoint.ring->wait(endpoint.member, sequence);
  return sequence;
}

SharedCommunicator::Ticket SharedCommunicator::find(int64_t ticket) {
  return {&endpoints_[static_cast<size_t>(ticket % std::ssize(endpoints_))],
          ticket / std::ssize(endpoints_)};
}

void SharedCommunicator::wait(int64_t ticket, Stream&) {
  const auto [endpoint, sequence] = find(ticket);
  endpoint->ring->wait(endpoint->member, sequence);
}

void SharedCommunicator::abandon(int64_t ticket) noexcept {
  const auto [endpoint, sequence] = find(ticket);
  endpoint->ring->abandon(endpoint->member, sequence);
}

}  // namespace nemo::shared
