#include "lib/comm/traffic.h"

#include "lib/core/error.h"

namespace nemo {

void Traffic::add(const Communicator& group, const char* operation, int64_t bytes) {
  if (group.size() == 1) return;
  Group& entry = groups_[group.name()];
  entry.num_ranks = group.size();
  OpTraffic& traffic = entry.operations[operation];
  ++traffic.count;
  traffic.bytes += bytes;
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

namespace {

class CountedCommunicator final : public Communicator {
 public:
  CountedCommunicator(Communicator& inner, Traffic& traffic)
      : Communicator(inner.name(), inner.rank(), inner.size()), inner_(inner), traffic_(traffic) {}
  CountedCommunicator(std::unique_ptr<Communicator> inner, Traffic& traffic)
      : CountedCommunicator(*inner, traffic) {
    owned_ = std::move(inner);
  }

  Work all_reduce(const Tensor& buffer, ReduceOp op, const char* label) override {
    traffic_.add(*this, "all_reduce", 2 * (size() - 1) * buffer.bytes() / size());
    return inner_.all_reduce(buffer, op, label);
  }
  Work all_gather(const Tensor& input, const Tensor& output, const char* label) override {
    traffic_.add(*this, "all_gather", (size() - 1) * input.bytes());
    return inner_.all_gather(input, output, label);
  }
  Work reduce_scatter(const Tensor& input, const Tensor& output, ReduceOp op,
                      const char* label) override {
    traffic_.add(*this, "reduce_scatter", (size() - 1) * output.bytes());
    return inner_.reduce_scatter(input, output, op, label);
  }
  Work all_to_all(const Tensor& input, const Tensor& output, const char* label) override {
    traffic_.add(*this, "all_to_all", (size() - 1) * input.bytes() / size());
    return inner_.all_to_all(input, output, label);
  }
  Work all_to_all_v(const Tensor& input, std::span<const int64_t> input_rows, const Tensor& output,
                    std::span<const int64_t> output_rows, const char* label) override {
    int64_t num_rows = 0;
    for (int64_t rows : input_rows) num_rows += rows;
    const int64_t others = num_rows - input_rows[static_cast<size_t>(rank())];
    traffic_.add(*this, "all_to_all_v", num_rows == 0 ? 0 : others * (input.bytes() / num_rows));
    return inner_.all_to_all_v(input, input_rows, output, output_rows, label);
  }
  Work broadcast(const Tensor& buffer, int root, const char* label) override {
    traffic_.add(*this, "broadcast", (size() - 1) * buffer.bytes() / size());
    return inner_.broadcast(buffer, root, label);
  }
  Work send(const Tensor& buffer, int peer, const char* label) override {
    traffic_.add(*this, "send", buffer.bytes());
    return inner_.send(buffer, peer, label);
  }
  Work receive(const Tensor& buffer, int peer, const char* label) override {
    return inner_.receive(buffer, peer, label);
  }
  void barrier(const char* label) override {
    traffic_.add(*this, "barrier", 0);
    inner_.barrier(label);
  }
  AddressRange reserve_memory(int64_t bytes) override { return inner_.reserve_memory(bytes); }
  std::unique_ptr<Communicator> split(int color, const std::string& name) override {
    return std::make_unique<CountedCommunicator>(inner_.split(color, name), traffic_);
  }
  std::unique_ptr<Communicator> subgroup(std::span<const int64_t> members,
                                         const std::string& name) override {
    return std::make_unique<CountedCommunicator>(inner_.subgroup(members, name), traffic_);
  }
  void poison(const std::string& reason) noexcept override { inner_.poison(reason); }

 private:
  // The inner communicator waits for its own Work.
  void wait(int64_t, Stream&) override { NEMO_CHECK(false, "[comm] no Work is the count's own"); }
  void abandon(int64_t) noexcept override {}

  std::unique_ptr<Communicator> owned_;
  Communicator& inner_;
  Traffic& traffic_;
};

}  // namespace

std::unique_ptr<Communicator> counted(Communicator& communicator, Traffic& traffic) {
  return std::make_unique<CountedCommunicator>(communicator, traffic);
}

}  // namespace nemo
