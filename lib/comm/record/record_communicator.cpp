#include "lib/comm/record/record_communicator.h"

#include <algorithm>

#include "lib/comm/contract.h"
#include "lib/core/math.h"

namespace nemo {

Work RecordCommunicator::all_reduce(const Tensor& buffer, ReduceOp, const char* label) {
  contract::check_all_reduce(buffer, label);
  return Work(this, 0, buffer, buffer);
}

Work RecordCommunicator::all_gather(const Tensor& input, const Tensor& output, const char* label) {
  contract::check_all_gather(size(), input, output, label);
  return Work(this, 0, input, output);
}

Work RecordCommunicator::reduce_scatter(const Tensor& input, const Tensor& output, ReduceOp,
                                        const char* label) {
  contract::check_reduce_scatter(size(), input, output, label);
  return Work(this, 0, input, output);
}

Work RecordCommunicator::all_to_all(const Tensor& input, const Tensor& output, const char* label) {
  contract::check_all_to_all(size(), input, output, label);
  return Work(this, 0, input, output);
}

Work RecordCommunicator::all_to_all_v(const Tensor& input, std::span<const int64_t> input_rows,
                                      const Tensor& output, std::span<const int64_t> output_rows,
                                      const char* label) {
  contract::check_all_to_all_v(size(), input, input_rows, output, output_rows, label);
  return Work(this, 0, input, output);
}

Work RecordCommunicator::broadcast(const Tensor& buffer, int root, const char* label) {
  contract::check_broadcast(size(), buffer, root, label);
  return Work(this, 0, buffer, buffer);
}

Work RecordCommunicator::send(const Tensor& buffer, int peer, const char* label) {
  contract::check_peer("send", rank(), size(), buffer, peer, label);
  return Work(this, 0, buffer, buffer);
}

Work RecordCommunicator::receive(const Tensor& buffer, int peer, const char* label) {
  contract::check_peer("receive", rank(), size(), buffer, peer, label);
  return Work(this, 0, buffer, buffer);
}

std::unique_ptr<Communicator> RecordCommunicator::split(int color, const std::string& name) {
  NEMO_CHECK(false, "[comm] a record world cannot split {} by color {}: give the members", name,
             color);
  return nullptr;
}

std::unique_ptr<Communicator> RecordCommunicator::subgroup(std::span<const int64_t> members,
                                                           const std::string& name) {
  return std::make_unique<RecordCommunicator>(name, rank_among(members),
                                              narrow<int>(std::ssize(members)));
}

}  // namespace nemo
