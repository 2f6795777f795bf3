#include "lib/comm/process_world.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <thread>

#include "lib/comm/shared/shared_communicator.h"
#include "lib/comm/store/store_server.h"
#include "lib/device/stream.h"

using namespace nemo;
using namespace std::chrono_literals;

namespace {

// Runs body(world, rank) on ranks that joined one job; what each threw, empty where nothing.
template <size_t kSize>
std::array<std::string, kSize> join_worlds(
    const std::array<bool, kSize>& share_memory,
    const std::function<void(ProcessWorld&, Store&, int)>& body) {
  const StoreServer server({"127.0.0.1", 0}, kSize, 10s, "the test");
  std::array<std::string, kSize> errors;
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < kSize; ++i)
    threads.emplace_back([&, i] {
      const int rank = static_cast<int>(i);
      Store store({"127.0.0.1", server.port()}, {.timeout = 10s});
      store.join({rank, "here", getpid()}, kSize);
      std::optional<ProcessWorld> world;
      try {
        world.emplace(store, rank, static_cast<int>(kSize),
                      ProcessWorld::Options{.timeout = 10s, .share_memory = share_memory.at(i)});
        body(*world, store, rank);
      } catch (const UserError& e) {
        errors.at(i) = e.what();
      }
      store.leave();
    });
  threads.clear();
  return errors;
}

}  // namespace

TEST_CASE("processes of one host are a world") {
  std::array<int32_t, 3> sums{};
  const auto errors = join_worlds<3>({true, true, true}, [&](ProcessWorld& process_world, Store&,
                                                             int rank) {
    const auto world = process_world.communicator();
    NEMO_CHECK(world->rank() == rank && world->size() == 3 && world->name() == "world", "world");
    Arena arena(world->reserve_memory(1 << 20));
    Stream stream(arena, 1, detect_cpu_isa());
    int32_t& sum = sums[static_cast<size_t>(rank)] = 1 << rank;
    world->all_reduce(Tensor(&sum, DType::kI32, {1}), ReduceOp::kSum, "sum").wait(stream);
  });
  CHECK(errors == std::array<std::string, 3>{});
  CHECK(sums == std::array<int32_t, 3>{7, 7, 7});
}

TEST_CASE("what poisons a world from another thread ends its waits") {
  const auto errors =
      join_worlds<2>({true, true}, [](ProcessWorld& process_world, Store&, int rank) {
        const auto world = process_world.communicator();
        const std::jthread watcher([&] {
          if (rank == 1) process_world.poison("rank 2 is gone");
        });
        if (rank == 0) world->barrier("wait");
      });
  CHECK(errors == std::array<std::string, 2>{"rank 2 is gone", ""});
}

// Ranks 0 and 2 are a host, 1 is one by itself.
TEST_CASE("groups share memory where one host has all their ranks, and talk where not") {
  std::array<int32_t, 3> sums{}, pair_sums{};
  std::array<bool, 3> is_shared{};
  const auto errors = join_worlds<3>({true, false, true}, [&](ProcessWorld& process_world, Store&,
                                                              int rank) {
    const auto i = static_cast<size_t>(rank);
    const auto world = process_world.communicator();
    NEMO_CHECK(world->rank() == rank && world->size() == 3 && world->name() == "world", "world");
    Arena arena(world->reserve_memory(1 << 20));
    Stream stream(arena, 1, detect_cpu_isa());
    auto sum_of = [&](Communicator& group) {
      const Tensor x(arena, DType::kI32, {1}, MemoryCategory::kCommunication, "x");
      x.data<int32_t>()[0] = 1 << rank;
      group.all_reduce(x, ReduceOp::kSum, "sum").wait(stream);
      return x.data<int32_t>()[0];
    };
    const auto hosts = world->split(rank % 2, "hosts");
    const auto all = world->split(0, "all");
    sums.at(i) = sum_of(*all);
    pair_sums.at(i) = sum_of(*hosts);
    is_shared.at(i) = dynamic_cast<shared::SharedCommunicator*>(hosts.get()) != nullptr &&
                      dynamic_cast<shared::SharedCommunicator*>(all.get()) == nullptr;
  });
  CHECK(errors == std::array<std::string, 3>{});
  CHECK(sums == std::array<int32_t, 3>{7, 7, 7});
  CHECK(pair_sums == std::array<int32_t, 3>{5, 2, 5});
  CHECK(is_shared == std::array<bool, 3>{true, true, true});
}
