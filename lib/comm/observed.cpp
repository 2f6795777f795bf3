#include "lib/comm/observed.h"

#include <map>
#include <utility>

namespace nemo {
namespace {

class ObservedCommunicator final : public Communicator {
 public:
  ObservedCommunicator(Communicator& inner, CommObserver& observer)
      : Communicator(inner.name(), inner.rank(), inner.size()),
        inner_(inner),
        observer_(observer) {}
  ObservedCommunicator(std::unique_ptr<Communicator> inner, CommObserver& observer)
      : ObservedCommunicator(*inner, observer) {
    owned_ = std::move(inner);
  }

  Work all_reduce(const Tensor& buffer, ReduceOp op, const char* label) override {
    return observe("all_reduce", label, 2 * (size() - 1) * buffer.bytes() / size(),
                   [&] { return inner_.all_reduce(buffer, op, label); });
  }
  Work all_gather(const Tensor& input, const Tensor& output, const char* label) override {
    return observe("all_gather", label, (size() - 1) * input.bytes(),
                   [&] { return inner_.all_gather(input, output, label); });
  }
  Work reduce_scatter(const Tensor& input, const Tensor& output, ReduceOp op,
                      const char* label) override {
    return observe("reduce_scatter", label, (size() - 1) * output.bytes(),
                   [&] { return inner_.reduce_scatter(input, output, op, label); });
  }
  Work all_to_all(const Tensor& input, const Tensor& output, const char* label) override {
    return observe("all_to_all", label, (size() - 1) * input.bytes() / size(),
                   [&] { return inner_.all_to_all(input, output, label); });
  }
  Work all_to_all_v(const Tensor& input, std::span<const int64_t> input_rows, const Tensor& output,
                    std::span<const int64_t> output_rows, const char* label) override {
    int64_t num_rows = 0;
    for (int64_t rows : input_rows) num_rows += rows;
    const int64_t others = num_rows - input_rows[static_cast<size_t>(rank())];
    return observe(
        "all_to_all_v", label, num_rows == 0 ? 0 : others * (input.bytes() / num_rows),
        [&] { return inner_.all_to_all_v(input, input_rows, output, output_rows, label); });
  }
  Work broadcast(const Tensor& buffer, int root, const char* label) override {
    return observe("broadcast", label, (size() - 1) * buffer.bytes() / size(),
                   [&] { return inner_.broadcast(buffer, root, label); });
  }
  Work send(const Tensor& buffer, int peer, const char* label) override {
    return observe("send", label, buffer.bytes(), [&] { return inner_.send(buffer, peer, label); });
  }
  Work receive(const Tensor& buffer, int peer, const char* label) override {
    return observe("receive", label, 0, [&] { return inner_.receive(buffer, peer, label); });
  }
  void barrier(const char* label) override {
    const CommObserver::Call call = {this, "barrier", label, 0, Clock::now()};
    observer_.called(call);
    inner_.barrier(label);
    observer_.waited(call, call.begin);
  }
  AddressRange reserve_memory(int64_t bytes) override { return inner_.reserve_memory(bytes); }
  std::unique_ptr<Communicator> split(int color, const std::string& name) override {
    return std::make_unique<ObservedCommunicator>(inner_.split(color, name), observer_);
  }
  std::unique_ptr<Communicator> subgroup(std::span<const int64_t> members,
                                         const std::string& name) override {
    return std::make_unique<ObservedCommunicator>(inner_.subgroup(members, name), observer_);
  }
  void poison(const std::string& reason) noexcept override { inner_.poison(reason); }

 private:
  struct Flight {
    CommObserver::Call call;
    Work work;
  };

  template <typename Begin>
  Work observe(const char* operation, const char* label, int64_t bytes, const Begin& begin) {
    const CommObserver::Call call = {this, operation, label, bytes, Clock::now()};
    observer_.called(call);
    flights_.emplace(++last_ticket_, Flight{call, begin()});
    return Work(this, last_ticket_, {}, {});
  }
  void wait(int64_t ticket, Stream& stream) override {
    auto flight = flights_.extract(ticket);
    const Clock::time_point begin = Clock::now();
    flight.mapped().work.wait(stream);
    observer_.waited(flight.mapped().call, begin);
  }
  void abandon(int64_t ticket) noexcept override { flights_.erase(ticket); }

  std::unique_ptr<Communicator> owned_;
  Communicator& inner_;
  CommObserver& observer_;
  std::map<int64_t, Flight> flights_;
  int64_t last_ticket_ = 0;
};

}  // namespace

std::unique_ptr<Communicator> observed(Communicator& communicator, CommObserver& observer) {
  return std::make_unique<ObservedCommunicator>(communicator, observer);
}

}  // namespace nemo
